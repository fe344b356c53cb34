/* What the parts of the module tell each other. model.c, which is generated, defines `rw_model` and what it points to. */
#ifndef RISKWEAVE_INTERNAL_H
#define RISKWEAVE_INTERNAL_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "riskweave.h"

/* Inputs of the health record. */
enum { RW_NUMBER, RW_CATEGORY, RW_EVENTS };
typedef struct {
  int kind;
  int required;
  double low, high;             /* hard limits, in the model's unit */
  double usual_low, usual_high; /* 1st and 99th percentile of the training rows; infinite where unknown */
  int units;                    /* value_in_model_unit = value * factor[unit] + offset[unit] */
  const double *factor, *offset;
  int categories;
} rw_input;

/* Columns of the feature tables, in the order of schema.json: first those of the health record, then the ECG's
 * measurements, then the image's, then local ones of the image. */
enum { RW_COL_STATIC, RW_COL_LAST, RW_COL_MEAN, RW_COL_MIN, RW_COL_MAX, RW_COL_SD, RW_COL_COUNT, RW_COL_SLOPE,
       RW_COL_EVER, RW_COL_TIME_SINCE, RW_COL_ECG, RW_COL_IMAGE };
typedef struct {
  int kind;
  int source;       /* number of the input, or place among the modality's measurements (ecg.c, image.c say the order) */
  double window;    /* days; an event counts when days < window; INFINITY: whole history */
  double low, high; /* values of events outside are events without a value */
  int set;          /* number of the feature set */
} rw_column;

/* A feature set: who has a row in its table. */
enum { RW_ALWAYS, RW_MEASURED, RW_HAS_ECG, RW_HAS_IMAGE };
typedef struct { int presence; int modality; } rw_set;

/* One column of a member's design: (value - mean) / scale of present modalities, 0 of absent ones. */
enum { RW_TERM_NUMBER, RW_TERM_MISSING, RW_TERM_CATEGORY };
#define RW_MISSING_CATEGORY -1
typedef struct {
  int kind;
  int modality;
  int column;            /* >= 0: of the feature tables; < 0: -1 - place in the member's embeddings */
  double lower, upper;   /* winsorising, before imputation */
  double fill;           /* training median */
  int categories;        /* RW_TERM_CATEGORY: the places of the input's categories that count as this one; */
  const int *category;   /* RW_MISSING_CATEGORY may be among them */
  double mean, scale;
} rw_term;

/* Encoders: from a prepared recording to the fold's embedding columns. NULL where no encoder has signal. */
typedef struct {
  int modality;                 /* the set's */
  int recording;                /* RW_HAS_ECG or RW_HAS_IMAGE */
  int first, count;             /* places in the member's embeddings */
  void (*run)(const float *input, float *output);
} rw_encoder;

/* Step function: cumulative hazard from each of its times on. */
typedef struct { int steps; const double *times, *cumulative; } rw_baseline;

typedef struct rw_member {
  int terms; const rw_term *term;      /* design columns before the masks */
  int masks; const int *mask;          /* modalities whose presence is a column, after the terms */
  int embeddings;                      /* width of all embeddings */
  int encoders; const rw_encoder *encoder;
  /* From the design (double[terms + masks]) to cumulative incidences double[causes][times]. */
  void (*predict)(const struct rw_member *, const double *design, double *risks);
  const void *parameters;              /* of predict */
} rw_member;

/* Parameters of rw_predict_cox: cause-specific proportional hazards. */
typedef struct {
  const double *coefficients;          /* [causes][design] */
  const double *means;                 /* [causes][design] */
  const rw_baseline *baseline;         /* [causes]; steps 0: never happens */
} rw_cox;
/* Parameters of rw_predict_boosted: cause-specific proportional hazards whose log ratios are sums of trees. A branch is
 * the place of a split, or below 0: -1 - the place of a leaf. Left goes what is at most the threshold; both are in single
 * precision, in which scikit-learn's trees read their columns. */
typedef struct { float threshold; int column, left, right; } rw_split;
typedef struct {
  int trees; const int *root;          /* branches */
  const rw_split *split;
  const double *leaf;
  double centre;                       /* taken off the sum */
} rw_trees;
typedef struct {
  const rw_trees *trees;               /* [causes] */
  const rw_baseline *baseline;         /* [causes] */
} rw_boosted;
/* Parameters of rw_predict_weibull: cumulative hazards (t / exp(intercept + design * slopes))^shape of each cause. */
typedef struct {
  const double *intercept;             /* [causes]; INFINITY: never happens */
  const double *slope;                 /* [causes][design] */
  const double *shape;                 /* [causes] */
  int days; const double *day;         /* where the hazards are combined: all times of the model are among them */
} rw_weibull;
/* Parameters of rw_predict_discrete: a network's outputs are logits (or rates, log rates ...) of intervals. */
typedef struct {
  void (*run)(const float *design, float *output); /* float[design] -> float[causes * intervals] */
  int intervals; const double *cuts;   /* [intervals + 1], days */
  int kind;                            /* how outputs become hazards */
} rw_discrete;
enum { RW_LOGISTIC_HAZARD, RW_PC_HAZARD, RW_PMF, RW_MTLR }; /* DeepHit's outputs are those of PMF */
/* Parameters of rw_predict_deep_surv: a network's outputs are log hazard ratios. */
typedef struct {
  void (*run)(const float *design, float *output); /* float[design] -> float[causes] */
  const rw_baseline *baseline;         /* [causes] */
} rw_deep_surv;

/* How the risks of one cause are recalibrated: log(-log(1 - risk)) is stretched about its centre and moved. */
typedef struct { const double *reference; double intercept, slope; } rw_recalibration; /* reference[times] */

typedef struct {
  int inputs; const rw_input *input;
  int columns; const rw_column *column;
  int sets; const rw_set *set;
  int modalities;
  int causes; int times; const double *time; /* days */
  int members; const rw_member *member;
  const rw_recalibration *recalibration; /* [causes]; NULL: risks are the members' mean as it is */
  int ecg, image;                      /* whether recordings are read */
  /* rw_ecg_read, rw_image_read and rw_image_grey where they are: what is not pointed to is not in the module. */
  int (*read_ecg)(double *leads, int samples, double rate, float *prepared, double *measured);
  int (*read_image)(float *grey, int width, int height, float *prepared, double *measured);
  void (*grey)(const uint8_t *pixels, int count, int stride, float *grey);
  double ecg_rate, ecg_seconds, ecg_low, ecg_high; /* Hz, s, band in Hz */
  int ecg_measured;                    /* whether columns of the ECG's measurements are wanted */
  int image_size;
  int image_measured, image_local;
} rw_description;
extern const rw_description rw_model;

/* Room for one patient: model.c, which knows the sizes, holds it. */
typedef struct {
  double *number;                      /* [inputs]: value in the model's unit, or place of the category; NaN: missing */
  double *column;                      /* [columns] */
  unsigned char *present;              /* [modalities] */
  double *ecg_measured, *image_measured;
  float *ecg_prepared, *image_prepared;
  float *embedding;                    /* [embeddings of all members, one after the other] */
  double *design;                      /* [terms + masks], of the widest member */
  float *single, *output;              /* the design as networks read it; their outputs, of the largest */
  double *scratch;                     /* [3 * outputs + 5 * (intervals + 1)], of the largest network */
  double *risks, *member_risks;        /* [causes][times]; [members][causes][times] */
} rw_room;
extern const rw_room rw_memory;

/* An event as the pipeline has it at the index time. */
typedef struct { int input; double days, value; } rw_dated;
/* events.c: an aggregate of the events of a column's input, sorted by days (undated last) and value (none last). */
double rw_aggregate(const rw_column *, const rw_dated *first, const rw_dated *end);
double rw_without_events(int kind);    /* what it is where there is none */
int rw_compare_events(const void *, const void *); /* for qsort: by input, days, value */
/* design.c */
void rw_make_present(int ecg, int image); /* modalities from the columns, and from whether recordings were read */
void rw_make_design(const rw_member *, const float *embedding, int ecg, int image);

/* survival.c: from a design to risks[causes][times]. */
void rw_predict_cox(const rw_member *, const double *design, double *risks);
void rw_predict_boosted(const rw_member *, const double *design, double *risks);
void rw_predict_weibull(const rw_member *, const double *design, double *risks);
void rw_predict_discrete(const rw_member *, const double *design, double *risks);
void rw_predict_deep_surv(const rw_member *, const double *design, double *risks);
void rw_recalibrate(double *risks);    /* risks[causes][times] in place; nothing where the model has no recalibration */

/* stored.c: what a lead is made of, among the numbers of a file, as riskweave.h has it; whether so many numbers hold it;
 * the samples, and which of the codes RW_LEAD_* describes them, as of any lead. */
typedef struct { double first, step, gain, baseline, millivolts, none; } rw_layout;
int rw_lead_within(const rw_layout *, int count, int samples);
int rw_lead_decode(rw_layout, const void *numbers, int bytes, double *lead, int samples);
int rw_lead_kind(const double *lead, int samples);

/* ecg.c: from raw leads (overwritten) to what the encoder reads and the measurements and quality, in the order of
 * riskweave.modalities.ecg: MEASUREMENTS (18 numbers), then QUALITY (duration, missing_leads, flat_leads, clipped_leads,
 * noise). Returns 0 or a code of riskweave.h. `prepared` is float[12][round(seconds * target)]. */
int rw_ecg_read(double *leads, int samples, double rate, float *prepared, double *measured);
/* image.c: greys float[height][width] (overwritten) to float[size][size] and measurements: always room for
 * RW_IMAGE_MEASUREMENTS in the order of MEASUREMENTS and RW_IMAGE_LOCAL in that of LOCAL_MEASUREMENTS; NaN what the model
 * does not ask for. */
enum { RW_IMAGE_LEAST = 2, RW_IMAGE_MOST = 16384, RW_IMAGE_MEASUREMENTS = 21, RW_IMAGE_LOCAL = 112 };
int rw_image_read(float *grey, int width, int height, float *prepared, double *measured);
/* ITU-R 601 as PIL: (19595 R + 38470 G + 7471 B + 32768) >> 16. `pixels` may be the last bytes of `grey`. */
void rw_image_grey(const uint8_t *pixels, int count, int stride, float *grey);
#endif
