/* R peaks from the energy of slopes over all leads: detect_beats in riskweave.modalities.ecg_measurements, which gives
 * the method. */
#include <stdlib.h>
#include <string.h>

#include "ecg.h"

/* Where a search for beats works. Arrays of signals are double[samples][RW_LEADS]. */
typedef struct {
  int samples;
  double rate;
  double *filtered, *energy;
  double *activity, *room; /* double[samples] */
  double scale[RW_LEADS];  /* energy of the typical beat; 0: the lead does not take part */
  int *peaks, *found;      /* int[samples] */
  char *kept;
} search;

void rw_gradient(const double *signal, int samples, double *slopes) {
  for (int i = 0; i < samples; i++) {
    int from = rw_max(i - 1, 0), to = rw_min(i + 1, samples - 1);
    const double *before = signal + (size_t)from * RW_LEADS, *after = signal + (size_t)to * RW_LEADS;
    double width = to - from;
    for (int l = 0; l < RW_LEADS; l++) slopes[(size_t)i * RW_LEADS + l] = (after[l] - before[l]) / width;
  }
}

static const double *mirrored(const double *values, int samples, int columns, int i) {
  if (i < 0) i = -1 - i;
  if (i >= samples) i = 2 * samples - 1 - i;
  return values + (size_t)i * (size_t)columns;
}

void rw_smooth(const double *values, int samples, int columns, int size, double *smooth) {
  int before = size / 2, after = size - before - 1;
  double sum[RW_LEADS] = {0};
  for (int i = -before; i <= after; i++) {
    const double *at = mirrored(values, samples, columns, i);
    for (int l = 0; l < columns; l++) sum[l] += at[l];
  }
  for (int i = 0; i < samples; i++) {
    if (i) {
      const double *in = mirrored(values, samples, columns, i + after);
      const double *out = mirrored(values, samples, columns, i - 1 - before);
      for (int l = 0; l < columns; l++) sum[l] += in[l] - out[l];
    }
    for (int l = 0; l < columns; l++) smooth[(size_t)i * (size_t)columns + l] = sum[l] / (double)size;
  }
}

/* The median over blocks of 1.5 s of the block's highest activity. */
static double typical_peak(search *s) {
  int block = rw_min(rw_round(1.5 * s->rate), s->samples), blocks = s->samples / block;
  const double *at = s->activity;
  for (int b = 0; b < blocks; b++) {
    double highest = *at++;
    for (int i = 1; i < block; i++, at++) highest = *at > highest ? *at : highest;
    s->room[b] = highest;
  }
  return rw_median(s->room, blocks);
}

/* The same of the energy of two leads from `lead` on. */
static void typical_energy(search *s, int lead, double typical[2]) {
  int block = rw_min(rw_round(1.5 * s->rate), s->samples), blocks = s->samples / block;
  const double *at = s->energy + lead;
  for (int b = 0; b < blocks; b++) {
    rw_two highest = *(const rw_two *)at;
    at += RW_LEADS;
    for (int i = 1; i < block; i++, at += RW_LEADS) highest = rw_higher(highest, *(const rw_two *)at);
    s->room[b] = highest[0];
    s->room[blocks + b] = highest[1];
  }
  for (int l = 0; l < 2; l++) typical[l] = rw_median(s->room + l * blocks, blocks);
}

static rw_two root_of(rw_two a) { return (rw_two)wasm_f64x2_sqrt((v128_t)a); }

/* Energy of the slopes in the band of the QRS complex, each lead's against its own typical beat, and their median. 0,
 * RW_MEMORY, or -1 where no lead has a beat. */
static int find_activity(search *s, const int usable[RW_LEADS]) {
  rw_section bandpass[2];
  rw_butter_bandpass(5, fmin(18, 0.45 * s->rate), s->rate, bandpass);
  int padding = rw_min(s->samples - 1, rw_round(s->rate / 2));
  if (rw_filtfilt(bandpass, 2, padding, s->filtered, s->filtered, s->samples)) return RW_MEMORY;
  rw_gradient(s->filtered, s->samples, s->energy);
  size_t size = (size_t)s->samples * RW_LEADS;
  for (size_t i = 0; i < size; i++) s->filtered[i] = s->energy[i] * s->energy[i];
  rw_smooth(s->filtered, s->samples, RW_LEADS, rw_max(rw_round(0.12 * s->rate), 1), s->energy);
  /* The moving sum of a silent stretch may round to below zero. */
  for (size_t i = 0; i < size; i += 2) {
    rw_two *at = (rw_two *)(s->energy + i);
    *at = rw_higher((rw_two){0}, *at);
  }
  double highest = 0;
  int known[RW_LEADS], leads = 0;
  for (int l = 0; l < RW_LEADS; l += 2) typical_energy(s, l, s->scale + l);
  for (int l = 0; l < RW_LEADS; l++) {
    if (!usable[l]) s->scale[l] = 0;
    highest = fmax(highest, s->scale[l]);
  }
  /* A thousandth of the highest amplitude is no beat, but the rounding errors of a silent lead. */
  for (int l = 0; l < RW_LEADS; l++) {
    if (s->scale[l] > 1e-6 * highest) known[leads++] = l;
    else s->scale[l] = 0;
  }
  if (!leads) return -1;
  for (int i = 0; i < s->samples; i += 2) {
    const double *one = s->energy + (size_t)i * RW_LEADS, *next = i + 1 < s->samples ? one + RW_LEADS : one;
    rw_two values[RW_LEADS];
    for (int k = 0; k < leads; k++) values[k] = (rw_two){one[known[k]], next[known[k]]} / s->scale[known[k]];
    /* The median of the roots: they are in the order of what they are the roots of. */
    rw_middle middle = rw_few_middles(values, leads);
    rw_two median = (root_of(middle.below) + root_of(middle.above)) / 2;
    s->activity[i] = median[0];
    if (i + 1 < s->samples) s->activity[i + 1] = median[1];
  }
  return 0;
}

/* Local maxima of at least `height` (scipy.signal.find_peaks); of a plateau, its middle. */
static int local_maxima(search *s, double height) {
  const double *x = s->activity;
  int count = 0, last = s->samples - 1;
  for (int i = 1; i < last; i++) {
    if (!(x[i - 1] < x[i])) continue;
    int end = i + 1;
    while (end < last && x[end] == x[i]) end++;
    if (x[end] < x[i]) {
      int middle = (i + end - 1) / 2;
      if (x[middle] >= height) s->peaks[count++] = middle;
      i = end - 1;
    }
  }
  return count;
}

/* Drop peaks nearer than `distance` to a higher one that stays; how many stay. The highest first: an insertion sort, as
 * a recording has few peaks, and the later of equals first. */
static int thin_out(search *s, int count, int distance) {
  for (int i = 0; i < count; i++) {
    double height = s->activity[s->peaks[i]];
    int j = i;
    for (; j > 0 && s->activity[s->peaks[s->found[j - 1]]] <= height; j--) s->found[j] = s->found[j - 1];
    s->found[j] = i;
    s->kept[i] = 1;
  }
  for (int i = 0; i < count; i++) {
    int j = s->found[i];
    if (!s->kept[j]) continue;
    for (int k = j - 1; k >= 0 && s->peaks[j] - s->peaks[k] < distance; k--) s->kept[k] = 0;
    for (int k = j + 1; k < count && s->peaks[k] - s->peaks[j] < distance; k++) s->kept[k] = 0;
  }
  int stay = 0;
  for (int i = 0; i < count; i++) {
    if (s->kept[i]) s->peaks[stay++] = s->peaks[i];
  }
  return stay;
}

/* The highest of the peaks that lie between two, or -1. */
static int between(const search *s, int count, double left, double right) {
  int best = -1;
  for (int i = 0; i < count; i++) {
    int peak = s->peaks[i];
    if (peak > left && peak < right && (best < 0 || s->activity[peak] > s->activity[best])) best = peak;
  }
  return best;
}

/* Keep the peaks above the threshold, and lower ones where a beat is overdue; into s->found, ascending. */
static int choose(search *s, int count, double typical) {
  int sure = 0, chosen = 0;
  for (int i = 0; i < count; i++) {
    if (s->activity[s->peaks[i]] >= 0.45 * typical) s->found[sure++] = s->peaks[i];
  }
  if (sure < 3) return sure;
  for (int i = 1; i < sure; i++) s->room[i - 1] = s->found[i] - s->found[i - 1];
  double usual = rw_median(s->room, sure - 1);
  /* s->room is done with: it holds the result, which may overtake the list that is read. */
  for (int i = 0; i < sure; i++) {
    int left = i ? s->found[i - 1] : s->found[i], right = s->found[i];
    int overdue = right - left > 1.6 * usual ? between(s, count, left + 0.4 * usual, right - 0.4 * usual) : -1;
    if (overdue >= 0) s->room[chosen++] = overdue;
    s->room[chosen++] = right;
  }
  for (int i = 0; i < chosen; i++) s->found[i] = (int)s->room[i];
  return chosen;
}

/* The sample near a peak where the leads together, each on its own scale, are farthest from their baseline. `room` is
 * double[3 * (2 * reach + 1)]. */
static int refined(int peak, const double *signal, int samples, int reach, const double scale[RW_LEADS], double *room) {
  int first = rw_max(peak - reach, 0), count = rw_min(peak + reach + 1, samples) - first, best = 0;
  double *own = room + count, *height = own + count;
  memset(height, 0, (size_t)count * sizeof *height);
  for (int l = 0; l < RW_LEADS; l++) {
    if (!(scale[l] > 0)) continue;
    const double *lead = signal + (size_t)first * RW_LEADS + l;
    for (int i = 0; i < count; i++) room[i] = own[i] = lead[(size_t)i * RW_LEADS];
    double baseline = rw_median(room, count), unit = sqrt(scale[l]);
    for (int i = 0; i < count; i++) height[i] += fabs(own[i] - baseline) / unit;
  }
  for (int i = 1; i < count; i++) best = height[i] > height[best] ? i : best;
  return first + best;
}

/* Ascending, each once: refined peaks may meet or even pass each other. */
static int in_order(int *peaks, int count) {
  int unique = 0;
  for (int i = 1; i < count; i++) {
    int value = peaks[i], j = i;
    for (; j > 0 && peaks[j - 1] > value; j--) peaks[j] = peaks[j - 1];
    peaks[j] = value;
  }
  for (int i = 0; i < count; i++) {
    if (!i || peaks[i] != peaks[i - 1]) peaks[unique++] = peaks[i];
  }
  return unique;
}

/* Sample numbers of the beats in the coarse signal, in s->found; how many, or -1 without memory. */
static int coarse_beats(search *s, const int usable[RW_LEADS]) {
  int state = find_activity(s, usable);
  if (state) return state < 0 ? 0 : -1;
  double typical = typical_peak(s);
  int count = local_maxima(s, 0.2 * typical);
  return choose(s, thin_out(s, count, rw_max(rw_round(0.22 * s->rate), 1)), typical);
}

int *rw_ecg_beats(const double *signal, int samples, double rate, const int usable[RW_LEADS], int *count) {
  /* Above 40 Hz the signal holds nothing: every so many samples are enough. */
  int step = rw_max((int)floor(rate / 200), 1), reach = rw_round(0.08 * rate);
  search s = {.samples = (samples + step - 1) / step, .rate = rate / step};
  size_t n = (size_t)s.samples, doubles = 2 * n * RW_LEADS + 2 * n + 3 * (2 * (size_t)reach + 1);
  double *block = malloc(doubles * sizeof *block + n);
  s.peaks = malloc(n * sizeof *s.peaks);
  s.found = malloc(n * sizeof *s.found);
  int *beats = NULL;
  if (block && s.peaks && s.found) {
    s.filtered = block;
    s.energy = s.filtered + n * RW_LEADS;
    s.activity = s.energy + n * RW_LEADS;
    s.room = s.activity + n;
    double *around = s.room + n;
    s.kept = (char *)(block + doubles);
    for (size_t i = 0; i < n; i++) {
      memcpy(s.filtered + i * RW_LEADS, signal + i * (size_t)step * RW_LEADS, RW_LEADS * sizeof *signal);
    }
    *count = coarse_beats(&s, usable);
    for (int i = 0; i < *count; i++) s.found[i] = refined(s.found[i] * step, signal, samples, reach, s.scale, around);
    if (*count >= 0) {
      *count = in_order(s.found, *count);
      beats = s.found;
    }
  }
  free(block);
  free(s.peaks);
  if (!beats) free(s.found);
  return beats;
}
