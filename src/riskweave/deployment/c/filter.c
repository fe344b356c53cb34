/* Butterworth filters, run both ways; medians. See filter.h. */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

typedef struct { double re, im; } complex_number;

static complex_number times(complex_number a, complex_number b) {
  return (complex_number){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

static double square_of_size(complex_number a) { return a.re * a.re + a.im * a.im; }

static complex_number root(complex_number a) {
  double size = sqrt(square_of_size(a));
  if (size == 0) return a;
  double part = sqrt((size + fabs(a.re)) / 2), other = fabs(a.im) / (2 * part);
  double re = a.re < 0 ? other : part, im = a.re < 0 ? part : other;
  return (complex_number){re, a.im < 0 ? -im : im};
}

/* Frequencies are warped so that the bilinear transform puts the edges where they belong; scipy's own rate is 2. */
static double warped(double edge, double rate) { return 4 * tan(PI * (2 * edge / rate) / 2); }

static complex_number bilinear(complex_number pole) {
  complex_number below = {4 - pole.re, pole.im}; /* the conjugate of 4 - pole */
  complex_number above = times((complex_number){4 + pole.re, pole.im}, below);
  double size = square_of_size(below);
  return (complex_number){above.re / size, above.im / size};
}

/* Both zeros at `zero`, which is 1 or -1, and a pair of conjugate poles. */
static rw_section section(double zero, complex_number pole, double gain) {
  return (rw_section){gain, gain * -2 * zero, gain, -2 * pole.re, square_of_size(pole)};
}

void rw_butter_bandpass(double low, double high, double rate, rw_section sections[2]) {
  double from = warped(low, rate), to = warped(high, rate);
  double width = to - from, centre = sqrt(from * to);
  /* One pole of the low-pass, moved to the band, gives two; the other one gives their conjugates. */
  complex_number pole = {-cos(PI / 4) * width / 2, sin(PI / 4) * width / 2};
  complex_number under = times(pole, pole);
  under.re -= centre * centre;
  complex_number away = root(under);
  complex_number poles[2] = {{pole.re + away.re, pole.im + away.im}, {pole.re - away.re, pole.im - away.im}};
  double gain = width * width * 16, distance[2];
  for (int i = 0; i < 2; i++) {
    gain /= square_of_size((complex_number){4 - poles[i].re, -poles[i].im});
    poles[i] = bilinear(poles[i]);
    distance[i] = fabs(1 - sqrt(square_of_size(poles[i])));
  }
  /* As scipy: the pole nearest the unit circle comes last, with the zeros nearest to it. */
  int worst = distance[1] < distance[0];
  double zero = poles[worst].re > 0 ? 1 : -1;
  sections[0] = section(-zero, poles[1 - worst], gain);
  sections[1] = section(zero, poles[worst], 1);
}

void rw_butter_highpass(double edge, double rate, rw_section sections[1]) {
  double centre = warped(edge, rate);
  complex_number pole = {-cos(PI / 4) * centre, sin(PI / 4) * centre};
  double gain = 16 / square_of_size((complex_number){4 - pole.re, -pole.im});
  sections[0] = section(1, bilinear(pole), gain);
}

/* The state after a long run of ones (scipy.signal.sosfilt_zi). */
static void settled(const rw_section *sections, int count, double state[][2]) {
  double scale = 1;
  for (int i = 0; i < count; i++) {
    rw_section s = sections[i];
    double first = s.b1 - s.a1 * s.b0, second = s.b2 - s.a2 * s.b0;
    double level = (first + second) / (1 + s.a1 + s.a2);
    state[i][0] = scale * level;
    state[i][1] = scale * ((1 + s.a1) * level - first);
    scale *= (s.b0 + s.b1 + s.b2) / (1 + s.a1 + s.a2);
  }
}

/* One section over six leads, in place: as many as keep a processor busy while each waits for its own last result, and
 * as it holds in registers. `step` is in doubles. */
static void run_six(rw_section s, const double state[2], const double *start, double *x, int samples, int step) {
  rw_two z[3][2];
  for (int l = 0; l < 3; l++) {
    rw_two first = ((const rw_two *)start)[l];
    z[l][0] = state[0] * first;
    z[l][1] = state[1] * first;
  }
#pragma clang loop unroll_count(2)
  for (int i = 0; i < samples; i++, x += step) {
    rw_two *at = (rw_two *)x;
    for (int l = 0; l < 3; l++) {
      rw_two in = at[l], fed = s.b0 * in, out = fed + z[l][0];
      /* What is known before `out` is added first: the next sample waits for less. */
      z[l][0] = (s.b1 * in + z[l][1]) - s.a1 * out;
      z[l][1] = fed - s.a2 * out;
      at[l] = out;
    }
  }
}

/* Both sections of a band-pass over four leads, in place: what the first one gives goes straight into the second. */
static void run_both(rw_section s, rw_section t, double state[2][2], const double *start, double *x, int samples,
                     int step) {
  rw_two y[2][2], z[2][2];
  for (int l = 0; l < 2; l++) {
    rw_two first = ((const rw_two *)start)[l];
    y[l][0] = state[0][0] * first;
    y[l][1] = state[0][1] * first;
    z[l][0] = state[1][0] * first;
    z[l][1] = state[1][1] * first;
  }
#pragma clang loop unroll_count(2)
  for (int i = 0; i < samples; i++, x += step) {
    rw_two *at = (rw_two *)x;
    for (int l = 0; l < 2; l++) {
      rw_two in = at[l], fed = s.b0 * in, between = fed + y[l][0];
      y[l][0] = (s.b1 * in + y[l][1]) - s.a1 * between;
      y[l][1] = fed - s.a2 * between;
      rw_two out = between + z[l][0];
      z[l][0] = (t.b1 * between + z[l][1]) - t.a1 * out;
      z[l][1] = between - t.a2 * out;
      at[l] = out;
    }
  }
}

/* All sections over all leads; step is RW_LEADS, or -RW_LEADS from the last sample backwards. */
static void run(const rw_section *sections, int count, double *x, int samples, int step) {
  double state[2][2], start[RW_LEADS];
  settled(sections, count, state);
  memcpy(start, x, sizeof start);
  if (count == 1)
    for (int l = 0; l < RW_LEADS; l += 6) run_six(sections[0], state[0], start + l, x + l, samples, step);
  else
    for (int l = 0; l < RW_LEADS; l += 4) run_both(sections[0], sections[1], state, start + l, x + l, samples, step);
}

int rw_filtfilt(const rw_section *sections, int count, int padding, const double *signal, double *filtered,
                int samples) {
  int length = samples + 2 * padding;
  double *longer = malloc((size_t)length * RW_LEADS * sizeof *longer);
  if (!longer) return RW_MEMORY;
  const double *last = signal + (size_t)(samples - 1) * RW_LEADS;
  double *middle = longer + (size_t)padding * RW_LEADS, *end = longer + (size_t)(length - 1) * RW_LEADS;
  memcpy(middle, signal, (size_t)samples * RW_LEADS * sizeof *signal);
  for (int i = 1; i <= padding; i++) {
    for (int l = 0; l < RW_LEADS; l++) {
      middle[-i * RW_LEADS + l] = 2 * signal[l] - signal[i * RW_LEADS + l];
      middle[(samples - 1 + i) * RW_LEADS + l] = 2 * last[l] - last[-i * RW_LEADS + l];
    }
  }
  run(sections, count, longer, length, RW_LEADS);
  run(sections, count, end, length, -RW_LEADS);
  memcpy(filtered, middle, (size_t)samples * RW_LEADS * sizeof *signal);
  free(longer);
  return 0;
}

/* Move values below the pivot (or, with `equal`, those that equal it) to the front of values[low..high]; where the
 * others begin. Without a branch on the values, which no processor could foretell: several times as fast. */
static int part(double *values, int low, int high, double pivot, int equal) {
  int next = low;
#pragma clang loop unroll_count(4)
  for (int i = low; i <= high; i++) {
    double value = values[i];
    values[i] = values[next];
    values[next] = value;
    next += equal ? value == pivot : value < pivot;
  }
  return next;
}

static double middle_of(double a, double b, double c) { return fmax(fmin(a, b), fmin(fmax(a, b), c)); }

static void sort(double *values, int low, int high) {
  for (int i = low + 1; i <= high; i++) {
    double value = values[i];
    int j = i;
    for (; j > low && values[j - 1] > value; j--) values[j] = values[j - 1];
    values[j] = value;
  }
}

/* A pivot that lies between the wanted rank and the nearer end, but near the rank: most values are then out of the way
 * after one or two passes. Of long arrays, by a sample of them. */
static double pivot_of(const double *values, int low, int high, int rank) {
  enum { SAMPLE = 31, MARGIN = 3 };
  int count = high - low + 1, step = count / SAMPLE;
  if (count < 20 * SAMPLE) return middle_of(values[low], values[low + count / 2], values[high]);
  double sample[SAMPLE];
  for (int i = 0; i < SAMPLE; i++) sample[i] = values[low + i * step];
  sort(sample, 0, SAMPLE - 1);
  int at = (int)((int64_t)(rank - low) * SAMPLE / count);
  at += 2 * (rank - low) < count ? MARGIN : -MARGIN;
  return sample[rw_max(0, rw_min(at, SAMPLE - 1))];
}

/* Quickselect: afterwards values[rank] is in its place, lower ones before and higher ones behind it. */
static void put_in_place(double *values, int count, int rank) {
  int low = 0, high = count - 1;
  while (high - low > 12) {
    double pivot = pivot_of(values, low, high, rank);
    int from = part(values, low, high, pivot, 0);
    if (rank < from) {
      high = from - 1;
    } else {
      low = part(values, from, high, pivot, 1);
      if (rank < low) return;
    }
  }
  sort(values, low, high);
}

double rw_ranked(double *values, int count, int rank) {
  put_in_place(values, count, rank);
  return values[rank];
}

double rw_median(double *values, int count) {
  int half = count / 2;
  put_in_place(values, count, half);
  if (count % 2) return values[half];
  double below = values[0];
  for (int i = 1; i < half; i++) below = values[i] > below ? values[i] : below;
  return (below + values[half]) / 2;
}

/* Two numbers change places where they are in the wrong order; both stay where they are equal, zeros of two signs too. */
#define ORDER(i, j) do { rw_two low = rw_lower(v[i], v[j]); v[j] = rw_higher(v[j], v[i]), v[i] = low; } while (0)

/* The middle two of sixteen, by Batcher's network: no branch, and what does not reach the middle is left out. */
static rw_middle middle_of_sixteen(const rw_two *values) {
  rw_two v[16];
  for (int i = 0; i < 16; i++) v[i] = values[i];
#pragma clang loop unroll(full)
  for (int p = 1; p < 16; p *= 2) {
#pragma clang loop unroll(full)
    for (int k = p; k >= 1; k /= 2) {
#pragma clang loop unroll(full)
      for (int i = 0; i + k < 16; i++)
        if (i / k % 2 == (k < p) && i / (2 * p) == (i + k) / (2 * p)) ORDER(i, i + k);
    }
  }
  return (rw_middle){v[7], v[8]};
}

rw_middle rw_few_middles(rw_two *v, int count) {
  if (count <= 16) {
    /* As many lowest as highest numbers more leave the middle where it is. */
    rw_two padded[16];
    int before = 8 - count / 2;
    for (int i = 0; i < 16; i++) padded[i] = i < before ? (rw_two){-INFINITY, -INFINITY} : (rw_two){INFINITY, INFINITY};
    for (int i = 0; i < count; i++) padded[before + i] = v[i];
    rw_middle found = middle_of_sixteen(padded);
    if (count % 2) found.below = found.above;
    return found;
  }
  /* Neighbours, as often as there are numbers. */
  for (int round = 0; round < count; round++)
    for (int i = round & 1; i + 1 < count; i += 2) ORDER(i, i + 1);
  return (rw_middle){v[(count - 1) / 2], v[count / 2]};
}

/* Between two of a sample's numbers, the median of a long lead is nearly always, and few others are. */
enum { SAMPLED = 255, ASIDE = 20, LOW = SAMPLED / 2 - ASIDE };
static void bracket(const double *lead, int samples, int absolute, double *low, double *high) {
  double sample[SAMPLED];
  int step = samples / SAMPLED;
  for (int i = 0; i < SAMPLED; i++) {
    /* At uneven steps: even ones may fall in with the heart's. */
    double value = lead[(size_t)(i * step + i * 7 % step) * RW_LEADS];
    sample[i] = absolute ? fabs(value) : value;
  }
  *low = rw_ranked(sample, SAMPLED, LOW);
  *high = rw_ranked(sample + LOW, SAMPLED - LOW, 2 * ASIDE);
}

/* The median of a whole lead. */
static double lead_median(const double *lead, int samples, int absolute, double *room) {
  for (int i = 0; i < samples; i++) room[i] = lead[(size_t)i * RW_LEADS];
  for (int i = 0; absolute && i < samples; i++) room[i] = fabs(room[i]);
  return rw_median(room, samples);
}

/* The median of a lead from those of its numbers that lie in the bracket, and how many lie below; NaN where it is not
 * among them. */
static double median_within(double *values, int count, int below, int samples) {
  int rank = samples / 2 - below;
  if (rank >= count || rank < 1) return NAN;
  put_in_place(values, count, rank);
  if (samples % 2) return values[rank];
  double before = values[0];
  for (int i = 1; i < rank; i++) before = values[i] > before ? values[i] : before;
  return (before + values[rank]) / 2;
}

/* The medians of two leads, side by side. */
static void two_medians(const double *leads, int samples, int absolute, double *room, double medians[2]) {
  double low[2], high[2], *within[2] = {room, room + samples};
  for (int l = 0; l < 2; l++) bracket(leads + l, samples, absolute, &low[l], &high[l]);
  v128_t from = wasm_v128_load(low), to = wasm_v128_load(high), kept = wasm_i64x2_splat(absolute ? INT64_MAX : -1);
  v128_t reached = wasm_i64x2_splat(0);
  double *first = within[0], *second = within[1];
  const double *at = leads;
#pragma clang loop unroll_count(2)
  for (int i = 0; i < samples; i++, at += RW_LEADS) {
    v128_t value = wasm_v128_and(wasm_v128_load(at), kept), above = wasm_f64x2_ge(value, from);
    v128_t inside = wasm_v128_and(above, wasm_f64x2_le(value, to));
    reached = wasm_i64x2_sub(reached, above);
    /* Written in any case, and kept where the place moves on. */
    wasm_v128_store64_lane(first, value, 0);
    wasm_v128_store64_lane(second, value, 1);
    first -= (int)wasm_i64x2_extract_lane(inside, 0);
    second -= (int)wasm_i64x2_extract_lane(inside, 1);
  }
  int count[2] = {(int)(first - within[0]), (int)(second - within[1])};
  int64_t those[2];
  wasm_v128_store(those, reached);
  for (int l = 0; l < 2; l++) {
    medians[l] = median_within(within[l], count[l], samples - (int)those[l], samples);
    if (isnan(medians[l])) medians[l] = lead_median(leads + l, samples, absolute, room);
  }
}

void rw_lead_medians(const double *signal, int samples, int absolute, double *room, double medians[RW_LEADS]) {
  for (int l = 0; l < RW_LEADS; l += 2) {
    if (samples > 4 * SAMPLED)
      two_medians(signal + l, samples, absolute, room, medians + l);
    else
      for (int i = l; i < l + 2; i++) medians[i] = lead_median(signal + i, samples, absolute, room);
  }
}
