/* A recording made comparable: gaps, leads that carry nothing, quality, rate, band, length. After read_recording in
 * riskweave.modalities.ecg, which says why each step is there. */
#include "ecg.h"

#include <stdlib.h>
#include <string.h>

static const double MEASURED_SECONDS = 10, MEASURED_RATE = 500, MEASURED_LOW = 0.5, MEASURED_HIGH = 40;
static const double MARGIN_SECONDS = 2, SHORTEST_SECONDS = 1, LOWEST_RATE = 50, HIGHEST_RATE = 10000;

/* Join gaps by a line, in place, as numpy.interp; whether the lead has a sample. */
static int fill_gaps(double *lead, int samples) {
  int last = -1; /* the last sample that is there */
  for (int i = 0; i < samples; i++) {
    if (!isfinite(lead[i])) continue;
    double slope = last < 0 ? 0 : (lead[i] - lead[last]) / (double)(i - last);
    for (int gap = last + 1; gap < i; gap++) lead[gap] = last < 0 ? lead[i] : slope * (double)(gap - last) + lead[last];
    last = i;
  }
  for (int i = last + 1; i < samples; i++) lead[i] = last < 0 ? 0 : lead[last];
  return last >= 0;
}

/* Within 0.01 mV in at least half of all half seconds. */
static int is_flat(const double *lead, int samples, double rate) {
  int window = rw_min(rw_round(rate / 2), samples), windows = samples / window, quiet = 0;
  for (int w = 0; w < windows; w++, lead += window) {
    double low = lead[0], high = lead[0];
    for (int i = 1; i < window; i++) {
      low = lead[i] < low ? lead[i] : low;
      high = lead[i] > high ? lead[i] : high;
    }
    quiet += high - low < 0.01;
  }
  return 2 * quiet >= windows;
}

static int longest_run(const double *lead, int samples, double value) {
  int longest = 0, run = 0;
  for (int i = 0; i < samples; i++) {
    run = lead[i] == value ? run + 1 : 0;
    longest = rw_max(longest, run);
  }
  return longest;
}

/* Whether the lead stays at its highest or lowest value, over 1 mV from the median. `room` is double[samples]. */
static int is_clipped(const double *lead, int samples, double rate, double *room) {
  int run = rw_max(rw_round(0.02 * rate), 3);
  double extremes[2] = {lead[0], lead[0]};
  for (int i = 1; i < samples; i++) {
    extremes[0] = lead[i] > extremes[0] ? lead[i] : extremes[0];
    extremes[1] = lead[i] < extremes[1] ? lead[i] : extremes[1];
  }
  for (int e = 0; e < 2; e++) {
    if (longest_run(lead, samples, extremes[e]) < run) continue;
    memcpy(room, lead, (size_t)samples * sizeof *room);
    if (fabs(extremes[e] - rw_median(room, samples)) > 1) return 1;
  }
  return 0;
}

/* Robust standard deviation above 40 Hz, the median over the usable leads. */
static int noise(const double *signal, int samples, double rate, const int usable[RW_LEADS], double *answer) {
  *answer = NAN;
  if (rate < 125) return 0;
  size_t size = (size_t)samples * RW_LEADS;
  double *fast = malloc((size + (size_t)samples) * sizeof *fast), medians[RW_LEADS];
  if (!fast) return RW_MEMORY;
  memcpy(fast, signal, size * sizeof *fast);
  rw_section highpass[1];
  rw_butter_highpass(40, rate, highpass);
  int failed = rw_filtfilt(highpass, 1, 9, fast, samples); /* 9: scipy's padding for one section */
  if (!failed) {
    rw_lead_medians(fast, samples, 1, fast + size, medians);
    int count = 0;
    for (int l = 0; l < RW_LEADS; l++) {
      if (usable[l]) medians[count++] = 1.4826 * medians[l];
    }
    *answer = rw_median(medians, count);
  }
  free(fast);
  return failed;
}

/* Quality of the leads, each double[stride] of which `samples` are read; their gaps are filled, and leads that carry
 * nothing become 0. */
static int quality(double *leads, int stride, int samples, double rate, int usable[RW_LEADS], double *measured) {
  int missing = 0, flat = 0, clipped = 0;
  double *room = malloc((size_t)samples * sizeof *room);
  if (!room) return RW_MEMORY;
  for (int l = 0; l < RW_LEADS; l++) {
    double *lead = leads + (size_t)l * (size_t)stride;
    int present = fill_gaps(lead, samples);
    usable[l] = present && !is_flat(lead, samples, rate);
    missing += !present;
    flat += present && !usable[l];
    clipped += usable[l] && is_clipped(lead, samples, rate, room);
    if (!usable[l]) memset(lead, 0, (size_t)samples * sizeof *lead);
  }
  free(room);
  measured[RW_MISSING_LEADS] = missing;
  measured[RW_FLAT_LEADS] = flat;
  measured[RW_CLIPPED_LEADS] = clipped;
  /* Python reads such recordings as zeros, since a study drops no subject for one of them. A risk from zeros would
   * look like that of an ECG that was read: who predicts for one patient is told, and may leave the recording out. */
  if (missing == RW_LEADS) return RW_ECG_EMPTY;
  return missing + flat == RW_LEADS ? RW_ECG_FLAT : 0;
}

/* Another rate and the band: a new array, as of rw_resample; NULL without memory. */
static double *comparable(const double *signal, int samples, double rate, double target, double low, double high,
                          int *count) {
  double *out = rw_resample(signal, samples, rate, target, count);
  if (!out) return NULL;
  rw_section bandpass[2];
  rw_butter_bandpass(low, high, target, bandpass);
  /* One period of the lower edge settles the slow part of the filter before the signal begins. */
  int padding = (int)fmin(*count - 1, rint(target / low));
  if (!rw_filtfilt(bandpass, 2, padding, out, *count)) return out;
  free(out);
  return NULL;
}

static int prepare(const double *signal, int samples, double rate, float *prepared) {
  int count, wanted = rw_round(rw_model.ecg_seconds * rw_model.ecg_rate);
  double *out = comparable(signal, samples, rate, rw_model.ecg_rate, rw_model.ecg_low, rw_model.ecg_high, &count);
  if (!out) return RW_MEMORY;
  for (int l = 0; l < RW_LEADS; l++) {
    for (int i = 0; i < wanted; i++) *prepared++ = i < count ? (float)out[(size_t)i * RW_LEADS + l] : 0;
  }
  free(out);
  return 0;
}

static int measure(const double *signal, int samples, double rate, double seconds, const int usable[RW_LEADS],
                   double *measured) {
  int count;
  double target = fmin(rate, MEASURED_RATE);
  double *out = comparable(signal, samples, rate, target, MEASURED_LOW, fmin(MEASURED_HIGH, 0.45 * target), &count);
  if (!out) return RW_MEMORY;
  int failed = rw_ecg_measure(out, rw_min(count, rw_round(seconds * target)), target, usable, measured);
  free(out);
  return failed;
}

int rw_ecg_read(double *leads, int samples, double rate, float *prepared, double *measured) {
  if (!(rate >= LOWEST_RATE && rate <= HIGHEST_RATE)) return RW_ECG_RATE;
  if (samples < SHORTEST_SECONDS * rate) return RW_ECG_SHORT;
  for (int i = 0; i < RW_ECG_NUMBERS; i++) measured[i] = NAN;
  double seconds = fmax(rw_model.ecg_seconds, MEASURED_SECONDS);
  int read = (int)fmin(samples, ceil((seconds + MARGIN_SECONDS) * rate)), usable[RW_LEADS];
  measured[RW_DURATION] = fmin(samples / rate, rw_model.ecg_seconds);
  int failed = quality(leads, samples, read, rate, usable, measured);
  if (failed) return failed;
  double *signal = malloc((size_t)read * RW_LEADS * sizeof *signal);
  if (!signal) return RW_MEMORY;
  for (int i = 0; i < read; i++) {
    for (int l = 0; l < RW_LEADS; l++) signal[(size_t)i * RW_LEADS + l] = leads[(size_t)l * (size_t)samples + i];
  }
  failed = noise(signal, read, rate, usable, &measured[RW_NOISE]);
  if (!failed) failed = prepare(signal, read, rate, prepared);
  if (!failed && rw_model.ecg_measured) failed = measure(signal, read, rate, seconds, usable, measured);
  free(signal);
  return failed;
}
