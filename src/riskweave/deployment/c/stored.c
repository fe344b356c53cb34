/* ECGs as their files store them: from whole numbers to millivolts, and what is in a lead. */
#include <math.h>

#include "internal.h"

int rw_lead_kind(const double *lead, int samples) {
  double low = INFINITY, high = -INFINITY;
  for (int i = 0; i < samples; i++) { /* comparisons with NaN are false */
    if (lead[i] < low) low = lead[i];
    if (lead[i] > high) high = lead[i];
  }
  if (low > high) return RW_LEAD_NONE;
  if (isinf(low) || isinf(high)) return RW_LEAD_INFINITE;
  return low < high ? RW_LEAD_MOVES : RW_LEAD_FLAT;
}

int rw_lead_within(const rw_layout *by, int count, int samples) {
  double last = by->first + by->step * (samples - 1);
  return by->first >= 0 && by->step >= 1 && by->step <= count && last < count;
}

/* Whether different numbers certainly are different samples, and finite. */
static int is_ordinary(rw_layout by) {
  double gain = fabs(by.gain), millivolts = fabs(by.millivolts);
  return gain > 1e-100 && gain < 1e100 && millivolts > 1e-100 && millivolts < 1e100 && fabs(by.baseline) < 1e10;
}

/* Some numbers at a time, and with a copy of what is asked for: so the compiler takes several at once. Hosts that count
 * instructions do so in each round of a loop: few long rounds take half the time of many short ones. */
int rw_lead_decode(rw_layout by, const void *numbers, int bytes, double *lead, int samples) {
  enum { BLOCK = 128 };
  int number[BLOCK], step = (int)by.step, reference = 0, differs = 0, gaps = 0;
  int known = by.none >= INT32_MIN && by.none <= INT32_MAX; /* whether some number stands for no value */
  int none = known ? (int)by.none : 0, all = known && by.none == none ? -1 : 0;
  for (int start = 0; start < samples; start += BLOCK) {
    int count = samples - start < BLOCK ? samples - start : BLOCK, place = (int)by.first + step * start, here = 0;
    double *value = lead + start;
    if (bytes == 2) {
      const int16_t *narrow = (const int16_t *)numbers + place;
#pragma clang loop unroll_count(8)
      for (int i = 0; i < count; i++) number[i] = narrow[step * i];
    } else {
      const int32_t *wide = (const int32_t *)numbers + place;
#pragma clang loop unroll_count(8)
      for (int i = 0; i < count; i++) number[i] = wide[step * i];
    }
#pragma clang loop interleave_count(4)
    for (int i = 0; i < count; i++) value[i] = (number[i] - by.baseline) / by.gain * by.millivolts;
    if (!start) reference = number[0];
#pragma clang loop interleave_count(4)
    for (int i = 0; i < count; i++) {
      differs |= number[i] ^ reference;
      here |= (number[i] == none) & all;
    }
    for (int i = 0; here && i < count; i++)
      if (number[i] == none) value[i] = NAN;
    gaps |= here;
  }
  if ((differs && gaps) || !is_ordinary(by)) return rw_lead_kind(lead, samples);
  return differs ? RW_LEAD_MOVES : gaps ? RW_LEAD_NONE : RW_LEAD_FLAT;
}
