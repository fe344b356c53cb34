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

/* Products of one output sample, of all leads. Each tap is there twice, once for each lead of a pair. */
static void add_one(const rw_two *taps, const double *signal, int count, const rw_two *level, rw_two *sum) {
#pragma clang loop unroll_count(2)
  for (int i = 0; i < count; i++, signal += RW_LEADS) {
    const rw_two *at = (const rw_two *)signal;
    for (int l = 0; l < RW_LEADS / 2; l++) sum[l] += taps[i] * (at[l] - level[l]);
  }
}

/* Products of two output samples with the same inputs, of six leads: each input is read once, and six sums do not wait
 * for each other. */
static void add_both(const rw_two *taps, const rw_two *others, const double *signal, int count, const rw_two *level,
                     rw_two *sum, rw_two *other) {
  rw_two a[3], b[3], middle[3];
  for (int l = 0; l < 3; l++) a[l] = sum[l], b[l] = other[l], middle[l] = level[l];
#pragma clang loop unroll_count(3)
  for (int i = 0; i < count; i++, signal += RW_LEADS) {
    const rw_two *at = (const rw_two *)signal;
    for (int l = 0; l < 3; l++) {
      rw_two off = at[l] - middle[l];
      a[l] += taps[i] * off;
      b[l] += others[i] * off;
    }
  }
  for (int l = 0; l < 3; l++) sum[l] = a[l], other[l] = b[l];
}

/* One output sample of all leads. */
static void weigh(const rw_two *taps, const double *signal, int count, const rw_two *level, double *out) {
  rw_two sum[RW_LEADS / 2] = {0};
  add_one(taps, signal, count, level, sum);
  for (int l = 0; l < RW_LEADS / 2; l++) ((rw_two *)out)[l] = sum[l] + level[l];
}

/* Two output samples, the second of which begins `down` inputs later; each sum in the order of its inputs. */
static void weigh_two(const rw_two *taps, const double *signal, int count, int down, const rw_two *level, double *out,
                      double *other) {
  rw_two sum[2][RW_LEADS / 2] = {{{0}}};
  int both = count - down;
  add_one(taps, signal, down, level, sum[0]);
  signal += down * RW_LEADS;
  for (int l = 0; l < RW_LEADS / 2; l += 3)
    add_both(taps + down, taps, signal + 2 * l, both, level + l, sum[0] + l, sum[1] + l);
  add_one(taps + both, signal + both * RW_LEADS, down, level, sum[1]);
  for (int l = 0; l < RW_LEADS / 2; l++) {
    ((rw_two *)out)[l] = sum[0][l] + level[l];
    ((rw_two *)other)[l] = sum[1][l] + level[l];
  }
}

/* Outputs that lie alike between the inputs share their taps: those of one phase are made once. */
static void phases(const double *signal, int samples, fraction ratio, const rw_two *level, rw_two *taps, double *out,
                   int64_t count) {
  int64_t up = ratio.above, down = ratio.below, widest = up > down ? up : down, half = 10 * widest;
  double gain = (double)up / ((double)widest * low_pass_sum(widest));
  for (int64_t phase = 0; phase < up && phase < count; phase++) {
    /* Input i is r - (i - base) * up from the output. */
    int64_t base = phase * down / up, r = phase * down % up, before = (half - r) / up, after = (half + r) / up;
    /* Below the first and above the last input there is nothing (0 around the median). */
    for (int64_t d = -before; d <= after; d++) {
      double tap = gain * low_pass(r - d * up, widest);
      taps[d + before] = (rw_two){tap, tap};
    }
    for (int64_t j = phase; j < count; j += up, base += down) {
      int64_t first = base - before, last = base + after, width = last - first + 1;
      if (first >= 0 && last + down < samples && j + up < count && 2 * down < width) {
        const double *at = signal + first * RW_LEADS;
        weigh_two(taps, at, (int)width, (int)down, level, out + j * RW_LEADS, out + (j + up) * RW_LEADS);
        j += up, base += down;
        continue;
      }
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
  double *room = malloc(2 * (size_t)(most > samples ? most : samples) * sizeof *room);
  rw_two level[RW_LEADS / 2];
  if (!room) {
    free(out);
    return NULL;
  }
  rw_lead_medians(signal, samples, 0, room, (double *)level);
  phases(signal, samples, ratio, level, (rw_two *)room, out, outputs);
  free(room);
  return out;
}
