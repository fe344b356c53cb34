/* What the parts of the ECG's reading tell each other. */
#ifndef RISKWEAVE_ECG_H
#define RISKWEAVE_ECG_H
#include "filter.h"

/* Places in `measured`: MEASUREMENTS of riskweave.modalities.ecg_measurements, then QUALITY of
 * riskweave.modalities.ecg. Three territories (inferior, lateral, anterior) each for R, S, T and ST. */
enum {
  RW_HEART_RATE, RW_RR_SD, RW_RMSSD, RW_QRS_WIDTH,
  RW_R, RW_S = RW_R + 3, RW_T = RW_S + 3, RW_ST = RW_T + 3,
  RW_SOKOLOW_LYON = RW_ST + 3, RW_CORNELL, RW_ECG_MEASUREMENTS,
  RW_DURATION = RW_ECG_MEASUREMENTS, RW_MISSING_LEADS, RW_FLAT_LEADS, RW_CLIPPED_LEADS, RW_NOISE,
  RW_ECG_NUMBERS
};

/* ecg_measure.c: the measurements of a filtered signal; NaN what cannot be measured. 0 or RW_MEMORY. */
int rw_ecg_measure(const double *signal, int samples, double rate, const int usable[RW_LEADS], double *measured);

/* ecg_beats.c: the sample numbers of the R peaks, ascending: a new array of *count, which the caller frees; NULL
 * without memory. */
int *rw_ecg_beats(const double *signal, int samples, double rate, const int usable[RW_LEADS], int *count);

/* ecg_beats.c: slopes by central differences, as numpy.gradient. */
void rw_gradient(const double *signal, int samples, double *slopes);
/* The mean of `size` values around each, of `columns` columns; the values are mirrored at the ends
 * (scipy.ndimage.uniform_filter1d). size / 2 <= samples. */
void rw_smooth(const double *values, int samples, int columns, int size, double *smooth);
#endif
