/* The interface of model.wasm, version 2, as a host sees it. docs/deployment.md describes its use.
 *
 * The module imports nothing. A host calls _initialize once, then for each patient: rw_reset, the setters, rw_predict,
 * and reads the results in the module's memory. Numbers are IEEE doubles unless said otherwise; NaN means missing.
 * Pointers are offsets into the exported memory, and stay valid until the next call that may grow it: read the memory
 * object anew after each call. Names, units and meanings of all numbers are in schema.json. */
#ifndef RISKWEAVE_H
#define RISKWEAVE_H

#define RW_ABI 2
#define RW_EXPORT(name) __attribute__((export_name(#name), used))

/* What setters and rw_check answer. Only RW_OK and RW_UNUSUAL store the value. */
enum {
  RW_OK = 0,
  RW_UNUSUAL = 1,      /* stored, but outside the central 98 % of the training rows */
  RW_IMPOSSIBLE = 2,   /* beyond the hard limits, or not finite */
  RW_NO_INPUT = 3,     /* no input of this number and kind */
  RW_NO_UNIT = 4,      /* no unit of this number */
  RW_NO_CATEGORY = 5,
  RW_NO_TIME = 6,      /* days before the index time are negative or not finite */
  RW_TOO_MANY = 7      /* more events than RW_MAX_EVENTS */
};

/* What rw_predict and rw_encode answer. */
enum {
  RW_REQUIRED = 16,    /* a required input is missing: rw_missing() tells which */
  RW_ECG_SHORT = 32,   /* less than a second */
  RW_ECG_RATE = 33,    /* sampling rate outside 50 to 10,000 Hz */
  RW_ECG_EMPTY = 34,   /* no lead has a sample */
  RW_ECG_FLAT = 35,    /* every lead that is there is flat */
  RW_IMAGE_SIZE = 48,  /* below 2 or above 16,384 pixels in one direction */
  RW_IMAGE_VALUE = 49, /* a pixel is not finite */
  RW_MEMORY = 64
};

#define RW_MAX_EVENTS 20000
#define RW_LEADS 12

int rw_abi(void);
void rw_reset(void);

/* Static inputs. `unit` is the place of the unit in the schema's list; the first is the model's own. A value that is
 * refused changes nothing: an earlier one stays. */
int rw_number(int input, double value, int unit);
int rw_category(int input, int category);
/* A dated event: days before the index time (>= 0; NaN: undated), its value or NaN. `unit` is looked at only when there
 * is a value. */
int rw_event(int input, double days, double value, int unit);
/* Many values in one call, for hosts to which calls are dear. Room for double[count][4]: input, days (of events), value or
 * category, unit. rw_give does with each record what rw_number, rw_category or rw_event would, puts the answer into its
 * first place, and returns how many were refused. 0 when there is no room. */
double *rw_records(int count);
int rw_give(void);
/* Forget an input: its value, or all its events. */
int rw_clear(int input);
/* What rw_number or rw_event would answer to this value; nothing is stored. */
int rw_check(int input, double value, int unit);

/* Room for a recording of 12 leads in the order I, II, III, aVR, aVL, aVF, V1..V6: double[12][samples] in mV, NaN where
 * there is none. The host fills all of it, or has it filled by rw_ecg_stored; rw_encode uses it up. 0 when the size is
 * refused (samples < 1, or more than 1,800,000 in all 12 leads) or the model reads no ECG. */
double *rw_ecg(int samples, double rate);
/* Samples as a file stores them, for rw_ecg_leads to decode: room for double[12][6], of what each lead is made, and then
 * for `count` signed little-endian numbers of 2 or 4 bytes. Of a lead: the place of its first sample among the numbers, the
 * step from one to the next, gain, baseline, mV of a unit, and the number that stands for no value (NaN where none does):
 * a sample is (number - baseline) / gain * mV, NaN for no value. A lead with step 0 is not in the file. Those of several
 * files go in one after the other; a lead that none of them has is NaN. 0 before rw_ecg, or when there is no room. */
void *rw_ecg_stored(int count, int bytes);
/* Decode the stored file where there is one, and tell of each lead what is in it: int[12] of the codes below. 0 before
 * rw_ecg, or when a lead of the file begins or ends outside its numbers. */
enum { RW_LEAD_NONE, RW_LEAD_FLAT, RW_LEAD_MOVES, RW_LEAD_INFINITE };
const int *rw_ecg_leads(void);
/* Room for a picture. format 0: float[height][width], greys of any unit, larger is brighter; 1: unsigned char
 * [height][width][3], red green blue; 2: with a fourth byte that is not looked at; 3: unsigned char[height][width], greys.
 * The host fills it; rw_encode uses it up. 0 when the size is refused (more than 16,384 pixels in one direction, too
 * little memory) or the model reads no image. */
void *rw_image(int width, int height, int format);
/* Whether the recording takes part in the prediction (1 after rw_ecg or rw_image). It stays in memory. */
void rw_use_ecg(int use);
void rw_use_image(int use);

/* Read the recordings: 0 or one of the codes above. rw_predict does so by itself where they are new. */
int rw_encode(void);
int rw_predict(void);
/* The number of the first required input that is missing, or -1. */
int rw_missing(void);

/* Results of the last rw_predict. Their places never change while the module runs.
 *
 * Whether the patient had each modality: [modalities], in the order of the schema. */
const unsigned char *rw_present(void);
/* Cumulative incidences double[causes][times], the target's first; per member: double[members][causes][times]. Where the
 * model recalibrates, both are recalibrated: the first from the mean of the members' own. */
const double *rw_risks(void);
const double *rw_member_risks(void);
/* The feature columns double[columns]: what was measured or counted; NaN what is missing and will be imputed. Columns of
 * embeddings are not among them. */
const double *rw_columns(void);
/* What encoders read: float[12][seconds * rate] in mV, and float[size][size]. */
const float *rw_ecg_prepared(void);
const float *rw_image_prepared(void);
#endif
