/* A recording made comparable: gaps, leads that carry nothing, quality, rate, band, length. After read_recording in
 * riskweave.modalities.ecg, which says why each step is there. */
#include "ecg.h"

#include <stdlib.h>
#include <string.h>

static const double MEASURED_SECONDS = 10, MEASURED_RATE = 500, MEASURED_LOW = 0.5, MEASURED_HIGH = 40;
static const double MARGIN_SECONDS = 2, SHORTEST_SECONDS = 1, LOWEST_RATE = 50, HIGHEST_RATE = 10000;

/* Whether a lead has no gaps: x - x is 0 of a number, and not of anything else. */
static int is_whole(const double *lead, int samples) {
  v128_t gaps = wasm_i64x2_splat(0);
  for (int i = 0; i + 1 < samples; i += 2) {
    v128_t two = wasm_v128_load(lead + i);
    gaps = wasm_v128_or(gaps, wasm_f64x2_sub(two, two));
  }
  return !wasm_v128_any_true(gaps) && isfinite(lead[samples - 1]);
}

/* Join gaps by a line, in place, as numpy.interp; whether the lead has a sample. */
static int fill_gaps(double *lead, int samples) {
  if (is_whole(lead, samples)) return 1;
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

typedef struct { double low, high; } extremes;

static extremes extremes_of(const double *lead, int samples) {
  rw_two low[2], high[2];
  for (int k = 0; k < 2; k++) low[k] = high[k] = (rw_two){lead[0], lead[0]};
  int i = 0;
  for (; i + 3 < samples; i += 4)
    for (int k = 0; k < 2; k++) {
      rw_two at = ((const rw_two *)(lead + i))[k];
      low[k] = rw_lower(low[k], at);
      high[k] = rw_higher(high[k], at);
    }
  for (; i < samples; i++) {
    low[0] = rw_lower(low[0], ((rw_two){lead[i], lead[i]}));
    high[0] = rw_higher(high[0], ((rw_two){lead[i], lead[i]}));
  }
  rw_two lowest = rw_lower(low[0], low[1]), highest = rw_higher(high[0], high[1]);
  return (extremes){fmin(lowest[0], lowest[1]), fmax(highest[0], highest[1])};
}

/* Within 0.01 mV in at least half of all half seconds; the extremes of the whole lead. */
static int is_flat(const double *lead, int samples, double rate, extremes *whole) {
  int window = rw_min(rw_round(rate / 2), samples), windows = samples / window, quiet = 0;
  *whole = (extremes){lead[0], lead[0]};
  for (int from = 0; from < samples; from += window) {
    extremes own = extremes_of(lead + from, rw_min(window, samples - from));
    quiet += from / window < windows && own.high - own.low < 0.01;
    *whole = (extremes){fmin(whole->low, own.low), fmax(whole->high, own.high)};
  }
  return 2 * quiet >= windows;
}

/* Whether the lead has so many times the same value running: one of them is at a multiple of that many. */
static int stays(const double *lead, int samples, double value, int run) {
  for (int at = 0; at < samples; at += run) {
    if (lead[at] != value) continue;
    int first = at, behind = at + 1;
    while (first > 0 && lead[first - 1] == value) first--;
    while (behind < samples && lead[behind] == value) behind++;
    if (behind - first >= run) return 1;
  }
  return 0;
}

/* Whether the lead stays at its highest or lowest value, over 1 mV from the median. `room` is double[samples]. */
static int is_clipped(const double *lead, int samples, double rate, extremes whole, double *room) {
  int run = rw_max(rw_round(0.02 * rate), 3);
  for (int low = 0; low < 2; low++) {
    double value = low ? whole.low : whole.high;
    if (!stays(lead, samples, value, run)) continue;
    memcpy(room, lead, (size_t)samples * sizeof *room);
    if (fabs(value - rw_median(room, samples)) > 1) return 1;
  }
  return 0;
}

/* Robust standard deviation above 40 Hz, the median over the usable leads. */
static int noise(const double *signal, int samples, double rate, const int usable[RW_LEADS], double *answer) {
  *answer = NAN;
  if (rate < 125) return 0;
  size_t size = (size_t)samples * RW_LEADS;
  double *fast = malloc((size + 2 * (size_t)samples) * sizeof *fast), medians[RW_LEADS];
  if (!fast) return RW_MEMORY;
  rw_section highpass[1];
  rw_butter_highpass(40, rate, highpass);
  int failed = rw_filtfilt(highpass, 1, 9, signal, fast, samples); /* 9: scipy's padding for one section */
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
    extremes whole;
    usable[l] = present && !is_flat(lead, samples, rate, &whole);
    missing += !present;
    flat += present && !usable[l];
    clipped += usable[l] && is_clipped(lead, samples, rate, whole, room);
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
  if (!rw_filtfilt(bandpass, 2, padding, out, out, *count)) return out;
  free(out);
  return NULL;
}

/* From leads, each double[stride], to the leads of a moment side by side. */
static void side_by_side(const double *leads, int stride, int samples, double *signal) {
  for (int i = 0; i < samples; i++, signal += RW_LEADS) {
    const double *lead = leads + i;
    if (i + 1 == samples) {
      for (int l = 0; l < RW_LEADS; l++) signal[l] = lead[(size_t)l * (size_t)stride];
      break;
    }
    for (int l = 0; l < RW_LEADS; l += 2, lead += 2 * (size_t)stride) {
      rw_two one = *(const rw_two *)lead, other = *(const rw_two *)(lead + stride);
      *(rw_two *)(signal + l) = __builtin_shufflevector(one, other, 0, 2);
      *(rw_two *)(signal + RW_LEADS + l) = __builtin_shufflevector(one, other, 1, 3);
    }
    i++, signal += RW_LEADS;
  }
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
  side_by_side(leads, samples, read, signal);
  failed = noise(signal, read, rate, usable, &measured[RW_NOISE]);
  if (!failed) failed = prepare(signal, read, rate, prepared);
  if (!failed && rw_model.ecg_measured) failed = measure(signal, read, rate, seconds, usable, measured);
  free(signal);
  return failed;
}
