/* Aggregates of dated events, as riskweave.modalities.ehr.aggregates computes them. */
#include "internal.h"

#define DAYS_PER_YEAR 365.25

/* Numbers upwards, missing ones last. */
static int order(double a, double b) {
  if (isnan(a) || isnan(b)) return isnan(a) - isnan(b);
  return (a > b) - (a < b);
}

/* The pipeline sorts the events of one code and unit like this, so that sums are made in its order; of several codes or
 * units it takes one after the other, which can change the last digit of a sum. */
int rw_compare_events(const void *first, const void *second) {
  const rw_dated *a = first, *b = second;
  if (a->input != b->input) return a->input < b->input ? -1 : 1;
  int days = order(a->days, b->days);
  return days ? days : order(a->value, b->value);
}

/* An infinite window is the whole history, to which undated events belong; no other window has them. */
static int inside(const rw_column *column, const rw_dated *event) {
  return isinf(column->window) || event->days < column->window;
}

/* An event outside the limits has happened, but has no value. */
static int valued(const rw_column *column, const rw_dated *event) {
  return inside(column, event) && !isnan(event->value) && !(event->value < column->low || event->value > column->high);
}

static int is_valued(const rw_column *column, const rw_dated *event, int dated) {
  return valued(column, event) && !(dated && isnan(event->days));
}

typedef double (*reading)(const rw_dated *);
static double its_value(const rw_dated *event) { return event->value; }
static double its_years(const rw_dated *event) { return -event->days / DAYS_PER_YEAR; }

/* The mean; `n` is how many there are. Rounding must not make another value of equal ones. */
static double mean(const rw_column *column, const rw_dated *first, const rw_dated *end, reading of, int dated, int *n) {
  double sum = 0.0, low = INFINITY, high = -INFINITY;
  *n = 0;
  for (const rw_dated *e = first; e < end; e++) {
    if (!is_valued(column, e, dated)) continue;
    double value = of(e);
    sum += value;
    if (value < low) low = value;
    if (value > high) high = value;
    ++*n;
  }
  if (!*n) return NAN;
  double found = sum / *n;
  return found < low ? low : found > high ? high : found;
}

static double deviation(const rw_column *column, const rw_dated *first, const rw_dated *end) {
  int n;
  double centre = mean(column, first, end, its_value, 0, &n), sum = 0.0;
  if (n < 2) return NAN;
  for (const rw_dated *e = first; e < end; e++)
    if (is_valued(column, e, 0)) sum += (e->value - centre) * (e->value - centre);
  return sqrt(sum / (n - 1));
}

/* Least squares, per year; at one time alone there is none. */
static double slope(const rw_column *column, const rw_dated *first, const rw_dated *end) {
  int n;
  double year = mean(column, first, end, its_years, 1, &n), centre = mean(column, first, end, its_value, 1, &n);
  double products = 0.0, squares = 0.0;
  for (const rw_dated *e = first; e < end; e++) {
    if (!is_valued(column, e, 1)) continue;
    double time = its_years(e) - year;
    products += time * (e->value - centre);
    squares += time * time;
  }
  return squares > 0 ? products / squares : NAN;
}

/* The value nearest to the index time, undated ones last; of several at one instant the largest. */
static double last(const rw_column *column, const rw_dated *first, const rw_dated *end) {
  double found = NAN, nearest = INFINITY;
  for (const rw_dated *e = first; e < end; e++) {
    if (!valued(column, e)) continue;
    double days = isnan(e->days) ? INFINITY : e->days;
    if (isnan(found) || days < nearest || (days == nearest && e->value > found)) found = e->value;
    if (days < nearest) nearest = days;
  }
  return found;
}

static double extreme(const rw_column *column, const rw_dated *first, const rw_dated *end, int sign) {
  double found = NAN;
  for (const rw_dated *e = first; e < end; e++)
    if (valued(column, e) && !(sign * e->value <= sign * found)) found = e->value;
  return found;
}

static double count(const rw_column *column, const rw_dated *first, const rw_dated *end) {
  int n = 0;
  for (const rw_dated *e = first; e < end; e++) n += inside(column, e);
  return n;
}

static double time_since(const rw_column *column, const rw_dated *first, const rw_dated *end) {
  double nearest = NAN;
  for (const rw_dated *e = first; e < end; e++)
    if (inside(column, e) && !isnan(e->days) && !(e->days >= nearest)) nearest = e->days;
  return nearest;
}

double rw_without_events(int kind) { return kind == RW_COL_COUNT || kind == RW_COL_EVER ? 0.0 : NAN; }

double rw_aggregate(const rw_column *column, const rw_dated *first, const rw_dated *end) {
  int n;
  switch (column->kind) {
    case RW_COL_LAST: return last(column, first, end);
    case RW_COL_MEAN: return mean(column, first, end, its_value, 0, &n);
    case RW_COL_MIN: return extreme(column, first, end, -1);
    case RW_COL_MAX: return extreme(column, first, end, 1);
    case RW_COL_SD: return deviation(column, first, end);
    case RW_COL_COUNT: return count(column, first, end);
    case RW_COL_SLOPE: return slope(column, first, end);
    case RW_COL_EVER: return count(column, first, end) > 0 ? 1.0 : 0.0;
    case RW_COL_TIME_SINCE: return time_since(column, first, end);
    default: return NAN;
  }
}
