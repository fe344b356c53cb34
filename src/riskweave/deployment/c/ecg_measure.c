/* Rate, rhythm, width and amplitudes of the average beat: measure in riskweave.modalities.ecg_measurements, which gives
 * the meaning of each. */
#include <stdlib.h>
#include <string.h>

#include "ecg.h"

enum { AVL = 4, V1 = 6, V3 = 8, V5 = 10, V6 = 11, TERRITORIES = 3 };
static const int TERRITORY[TERRITORIES][5] = {{1, 2, 5, -1}, {0, 4, 10, 11, -1}, {6, 7, 8, 9, -1}}; /* rows; -1 ends */
/* The average beat, in seconds before and after the R peak. */
static const double BEFORE = 0.25, AFTER = 0.5;

/* The average beat: double[width][RW_LEADS]; its R peak and the first and last sample of its QRS complex. */
typedef struct {
  double *at;
  int width, centre, start, end;
  double rate;
} average;

static double mean(const double *values, int count) {
  double sum = 0;
  for (int i = 0; i < count; i++) sum += values[i];
  return sum / count;
}

/* Intervals between beats in s and what follows from them; whether the rate is a heart's. */
static int measure_rhythm(const int *beats, int count, double rate, double *intervals, double *measured) {
  int n = count - 1;
  if (n < 1) return 0;
  for (int i = 0; i < n; i++) intervals[i] = (beats[i + 1] - beats[i]) / rate;
  double usual = mean(intervals, n), per_minute = 60 / usual, squares = 0, steps = 0;
  if (!(per_minute >= 25 && per_minute <= 250)) return 0;
  measured[RW_HEART_RATE] = per_minute;
  if (n < 2) return 1;
  for (int i = 0; i < n; i++) {
    squares += (intervals[i] - usual) * (intervals[i] - usual);
    if (i) steps += (intervals[i] - intervals[i - 1]) * (intervals[i] - intervals[i - 1]);
  }
  measured[RW_RR_SD] = 1e3 * sqrt(squares / (n - 1));
  measured[RW_RMSSD] = 1e3 * sqrt(steps / (n - 1));
  return 1;
}

/* The median over the beats, sample by sample: those that lie wholly in the signal, or, where none does, all, with the
 * signal continued by its ends. `room` is double[count], `taken` is int[count]. */
static void take_average(const double *signal, int samples, const int *beats, int count, double *room, int *taken,
                         average *beat) {
  int before = beat->centre, after = beat->width - before, whole = 0, many = 0;
  for (int b = 0; b < count; b++) whole += beats[b] >= before && beats[b] + after <= samples;
  for (int b = 0; b < count; b++) {
    if (!whole || (beats[b] >= before && beats[b] + after <= samples)) taken[many++] = beats[b] - before;
  }
  for (int i = 0; i < beat->width; i++) {
    const double *row[RW_FEW];
    for (int b = 0; b < many && many <= RW_FEW; b++)
      row[b] = signal + (size_t)rw_min(rw_max(taken[b] + i, 0), samples - 1) * RW_LEADS;
    for (int l = 0; l < RW_LEADS; l += 2) {
      double *median = beat->at + (size_t)i * RW_LEADS + l;
      rw_two few[RW_FEW];
      for (int lane = 0; lane < 2 && many > RW_FEW; lane++) {
        for (int b = 0; b < many; b++)
          room[b] = signal[(size_t)rw_min(rw_max(taken[b] + i, 0), samples - 1) * RW_LEADS + l + lane];
        median[lane] = rw_median(room, many);
      }
      if (many > RW_FEW) continue;
      for (int b = 0; b < many; b++) few[b] = *(const rw_two *)(row[b] + l);
      rw_middle middle = rw_few_middles(few, many);
      *(rw_two *)median = (middle.below + middle.above) / 2;
    }
  }
}

/* The lower quartile; the values are put into another order. numpy.quantile: linear between neighbours. */
static double lower_quartile(double *values, int count) {
  double place = 0.25 * (count - 1), part = place - floor(place);
  int rank = (int)place;
  double low = rw_ranked(values, count, rank), high = rw_ranked(values, count, rw_min(rank + 1, count - 1));
  return part >= 0.5 ? high - (high - low) * (1 - part) : low + (high - low) * part;
}

/* What is left of marks when runs shorter than `size` are dropped (a morphological opening). */
static void open_marks(char *marks, int count, int size) {
  for (int i = 0; i < count; i++) {
    int end = i;
    while (end < count && marks[end]) end++;
    if (end - i < size) memset(marks + i, 0, (size_t)(end - i));
    i = end;
  }
}

/* The summed slopes of the leads, smoothed over 12 ms. `room` is double[width]. */
static void total_slope(const average *beat, const int usable[RW_LEADS], double *slopes, double *room, double *smooth) {
  rw_gradient(beat->at, beat->width, slopes);
  for (int i = 0; i < beat->width; i++) {
    room[i] = 0;
    for (int l = 0; l < RW_LEADS; l++) room[i] += usable[l] ? fabs(slopes[(size_t)i * RW_LEADS + l]) : 0;
  }
  rw_smooth(room, beat->width, 1, rw_max(rw_round(0.012 * beat->rate), 1), smooth);
}

/* First and last sample of the QRS complex: where the summed slope stays above a share of its peak. `slope` and `room`
 * are double[width], `quiet` is char[width]. */
static void find_bounds(average *beat, const double *slope, double *room, char *quiet) {
  int centre = beat->centre, reach = rw_round(0.12 * beat->rate), near = rw_round(0.04 * beat->rate);
  int low = rw_max(centre - reach, 0), high = rw_min(centre + reach, beat->width - 1);
  double peak = 0;
  for (int i = rw_max(centre - near, 0); i <= centre + near && i < beat->width; i++) peak = fmax(peak, slope[i]);
  memcpy(room, slope, (size_t)beat->width * sizeof *room);
  double threshold = lower_quartile(room, beat->width) + 0.05 * peak;
  int count = high - low + 1, middle = centre - low;
  for (int i = 0; i < count; i++) quiet[i] = slope[low + i] < threshold;
  open_marks(quiet, count, rw_max(rw_round(0.014 * beat->rate), 2));
  beat->start = low;
  beat->end = high;
  for (int i = middle - 1; i >= 0 && beat->start == low; i--) {
    if (quiet[i]) beat->start = low + i + 1;
  }
  for (int i = count - 1; i >= middle; i--) {
    if (quiet[i]) beat->end = low + i - 1;
  }
  beat->end = rw_max(beat->end, beat->start + 1);
}

/* R, S, T and ST of one lead against the level of the 40 ms before the QRS complex. `room` is double[width]. */
static void measure_waves(const average *beat, int lead, double interval, double *room, double waves[4]) {
  const double *x = beat->at + lead;
  int last = beat->width - 1, start = beat->start, end = beat->end;
  int from = rw_max(start - rw_round(0.04 * beat->rate), 0), count = rw_max(start, 1) - from;
  for (int i = 0; i < count; i++) room[i] = x[(from + i) * RW_LEADS];
  double baseline = rw_median(room, count);
  for (int i = 0; i <= last; i++) room[i] = x[i * RW_LEADS] - baseline;
  waves[0] = waves[1] = NAN;
  for (int i = start; i <= end && i <= last; i++) waves[0] = fmax(waves[0], room[i]);
  int after = beat->centre - rw_round(0.02 * beat->rate);
  for (int i = after; i <= end && i <= last; i++) waves[1] = fmin(waves[1], room[i]);
  /* The T wave ends before the next beat begins: at high rates the search stops at 60 % of the interval. */
  int t_start = rw_min(end + rw_round(0.06 * beat->rate), last - 1), highest = t_start;
  int t_end = rw_min(beat->centre + rw_round(fmin(AFTER, 0.6 * interval) * beat->rate), last);
  for (int i = t_start + 1; i < t_end; i++) highest = fabs(room[i]) > fabs(room[highest]) ? i : highest;
  waves[2] = room[highest];
  waves[3] = room[rw_min(end + rw_round(0.06 * beat->rate), last)];
}

static void measure_amplitudes(const average *beat, const int usable[RW_LEADS], double interval, double *room,
                               double *measured) {
  double waves[RW_LEADS][4];
  for (int l = 0; l < RW_LEADS; l++) {
    for (int w = 0; w < 4; w++) waves[l][w] = NAN;
    if (usable[l]) measure_waves(beat, l, interval, room, waves[l]);
  }
  for (int w = 0; w < 4; w++) {
    for (int t = 0; t < TERRITORIES; t++) {
      double known[RW_LEADS];
      int count = 0;
      for (const int *lead = TERRITORY[t]; *lead >= 0; lead++) {
        if (usable[*lead]) known[count++] = waves[*lead][w];
      }
      measured[RW_R + w * TERRITORIES + t] = count ? mean(known, count) : NAN;
    }
  }
  /* As Python's max: with V5 alone its R wave, without V5 nothing. */
  double r = waves[V6][0] > waves[V5][0] ? waves[V6][0] : waves[V5][0];
  measured[RW_SOKOLOW_LYON] = -waves[V1][1] + r;
  measured[RW_CORNELL] = waves[AVL][0] - waves[V3][1];
}

/* The average beat and what is measured on it. `intervals` is double[count], with count - 1 intervals. */
static int measure_beat(const double *signal, int samples, const int *beats, int count, double *intervals, double rate,
                        const int usable[RW_LEADS], double *measured) {
  average beat = {.centre = rw_round(BEFORE * rate), .rate = rate};
  beat.width = beat.centre + rw_round(AFTER * rate);
  size_t width = (size_t)beat.width;
  double interval = rw_median(intervals, count - 1);
  double *block = malloc((2 * width * RW_LEADS + 2 * width) * sizeof *block + (size_t)count * sizeof(int) + width);
  if (!block) return RW_MEMORY;
  beat.at = block;
  double *slopes = beat.at + width * RW_LEADS, *slope = slopes + width * RW_LEADS, *room = slope + width;
  int *taken = (int *)(room + width);
  take_average(signal, samples, beats, count, intervals, taken, &beat);
  total_slope(&beat, usable, slopes, room, slope);
  find_bounds(&beat, slope, room, (char *)(taken + count));
  measured[RW_QRS_WIDTH] = 1e3 * (beat.end - beat.start) / rate;
  measure_amplitudes(&beat, usable, interval, room, measured);
  free(block);
  return 0;
}

int rw_ecg_measure(const double *signal, int samples, double rate, const int usable[RW_LEADS], double *measured) {
  int count, failed = 0;
  for (int i = 0; i < RW_ECG_MEASUREMENTS; i++) measured[i] = NAN;
  int *beats = rw_ecg_beats(signal, samples, rate, usable, &count);
  double *intervals = malloc(((size_t)samples + 1) * sizeof *intervals);
  if (!beats || !intervals) failed = RW_MEMORY;
  else if (measure_rhythm(beats, count, rate, intervals, measured))
    failed = measure_beat(signal, samples, beats, count, intervals, rate, usable, measured);
  free(intervals);
  free(beats);
  return failed;
}
