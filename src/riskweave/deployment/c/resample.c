/* Another sampling rate: scipy.signal.resample_poly with its own filter (a sinc in a Kaiser window) and
 * padtype="median". See filter.h. */
#include <stdlib.h>
#include <string.h>

#include "filter.h"

static const double PI = 3.14159265358979323846;

typedef struct { int64_t above, below; } fraction;

/* The nearest fraction with a denominator of at most 1000 (fractions.Fraction.limit_denominator). value is positive and
 * below 2^20, so that nothing overflows. */
static fraction near_fraction(double value) {
  const int64_t most = 1000;
  int64_t n, d = 1;
  while (value != floor(value) && d < ((int64_t)1 << 51)) {
    value *= 2;
    d *= 2;
  }
  n = (int64_t)value;
  if (d <= most) return (fraction){n, d};
  int64_t whole = d, p0 = 0, q0 = 1, p1 = 1, q1 = 0;
  for (;;) {
    int64_t a = n / d, q2 = q0 + a * q1;
    if (q2 > most) break;
    int64_t p2 = p0 + a * p1, rest = n - a * d;
    p0 = p1, q0 = q1, p1 = p2, q1 = q2;
    n = d, d = rest;
  }
  int64_t k = (most - q0) / q1;
  if (2 * d * (q0 + k * q1) <= whole) return (fraction){p1, q1};
  return (fraction){p0 + k * p1, q0 + k * q1};
}

/* The rates' ratio in lowest terms. */
static fraction ratio_of(double target, double rate) {
  fraction to = near_fraction(target), from = near_fraction(rate);
  int64_t above = to.above * from.below, below = to.below * from.above, a = above, b = below;
  while (b) {
    int64_t rest = a % b;
    a = b, b = rest;
  }
  return (fraction){above / a, below / a};
}

/* 6.25^k / k!^2 summed by Horner's rule: the Bessel function I0(5 sqrt(1 - position^2)), |position| <= 1. The term of
 * k = 20 is below 1e-20. */
static double bessel(double position) {
  double t = 6.25 * (1 - position * position), sum = 1;
  for (int k = 20; k >= 1; k--) sum = 1 + sum * (t / (double)(k * k));
  return sum;
}

/* The low-pass at a distance of m samples (of the common multiple of both rates) from its middle, without its gain. It
 * is cut at 1 / widest of half that rate and reaches 10 * widest samples to both sides. */
static double low_pass(int64_t m, int64_t widest) {
  double x = PI * (double)m / (double)widest, reach = 10.0 * (double)widest;
  return (m ? sin(x) / x : 1) * bessel((double)m / reach);
}

/* The sum over the whole low-pass, divided by `widest`. It tends to an integral and is within 1e-11 of it from 10,000
 * on: filters of odd rates, which may have 100 million taps, are not summed in full. */
static double low_pass_sum(int64_t widest) {
  int64_t many = widest < 10000 ? widest : 10000;
  double sum = 0;
  for (int64_t m = 10 * many; m >= 1; m--) sum += low_pass(m, many);
  return (2 * sum + low_pass(0, many)) / (double)many;
}

/* One output sample of all leads. */
static void weigh(const double *taps, const double *signal, int count, const double level[RW_LEADS], double *out) {
  double sum[RW_LEADS] = {0};
  for (int i = 0; i < count; i++, signal += RW_LEADS) {
    double tap = taps[i];
    for (int l = 0; l < RW_LEADS; l++) sum[l] += tap * (signal[l] - level[l]);
  }
  for (int l = 0; l < RW_LEADS; l++) out[l] = sum[l] + level[l];
}

/* Outputs that lie alike between the inputs share their taps: those of one phase are made once. */
static void phases(const double *signal, int samples, fraction ratio, const double level[RW_LEADS], double *taps,
                   double *out, int64_t count) {
  int64_t up = ratio.above, down = ratio.below, widest = up > down ? up : down, half = 10 * widest;
  double gain = (double)up / ((double)widest * low_pass_sum(widest));
  for (int64_t phase = 0; phase < up && phase < count; phase++) {
    /* Input i is r - (i - base) * up from the output. */
    int64_t base = phase * down / up, r = phase * down % up, before = (half - r) / up, after = (half + r) / up;
    /* Below the first and above the last input there is nothing (0 around the median). */
    for (int64_t d = -before; d <= after; d++) taps[d + before] = gain * low_pass(r - d * up, widest);
    for (int64_t j = phase; j < count; j += up, base += down) {
      int64_t first = base - before, last = base + after;
      int64_t from = first < 0 ? 0 : first, to = last < samples ? last : samples - 1;
      weigh(taps + (from - first), signal + from * RW_LEADS, (int)(to - from + 1), level, out + j * RW_LEADS);
    }
  }
}

double *rw_resample(const double *signal, int samples, double rate, double target, int *count) {
  fraction ratio = ratio_of(target, rate);
  int64_t up = ratio.above, down = ratio.below, outputs = (samples * up + down - 1) / down;
  double *out = malloc((size_t)outputs * RW_LEADS * sizeof *out);
  *count = (int)outputs;
  if (!out) return NULL;
  if (up == down) return memcpy(out, signal, (size_t)samples * RW_LEADS * sizeof *out);
  int64_t most = 20 * (up > down ? up : down) / up + 1;
  double *room = malloc((size_t)(most > samples ? most : samples) * sizeof *room), level[RW_LEADS];
  if (!room) {
    free(out);
    return NULL;
  }
  rw_lead_medians(signal, samples, 0, room, level);
  phases(signal, samples, ratio, level, room, out, outputs);
  free(room);
  return out;
}
