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

/* One section over all leads, in place; step is RW_LEADS, or -RW_LEADS from the last sample backwards. */
static void run(rw_section s, const double state[2], const double start[RW_LEADS], double *x, int samples, int step) {
  double z0[RW_LEADS], z1[RW_LEADS];
  for (int l = 0; l < RW_LEADS; l++) {
    z0[l] = state[0] * start[l];
    z1[l] = state[1] * start[l];
  }
  for (int i = 0; i < samples; i++, x += step) {
    for (int l = 0; l < RW_LEADS; l++) {
      double in = x[l], out = s.b0 * in + z0[l];
      z0[l] = s.b1 * in - s.a1 * out + z1[l];
      z1[l] = s.b2 * in - s.a2 * out;
      x[l] = out;
    }
  }
}

int rw_filtfilt(const rw_section *sections, int count, int padding, double *signal, int samples) {
  int length = samples + 2 * padding;
  double *longer = malloc((size_t)length * RW_LEADS * sizeof *longer);
  if (!longer) return RW_MEMORY;
  double *middle = longer + (size_t)padding * RW_LEADS, *last = signal + (size_t)(samples - 1) * RW_LEADS;
  memcpy(middle, signal, (size_t)samples * RW_LEADS * sizeof *signal);
  for (int i = 1; i <= padding; i++) {
    for (int l = 0; l < RW_LEADS; l++) {
      middle[-i * RW_LEADS + l] = 2 * signal[l] - signal[i * RW_LEADS + l];
      middle[(samples - 1 + i) * RW_LEADS + l] = 2 * last[l] - last[-i * RW_LEADS + l];
    }
  }
  double state[2][2], start[RW_LEADS], *end = longer + (size_t)(length - 1) * RW_LEADS;
  settled(sections, count, state);
  memcpy(start, longer, sizeof start);
  for (int i = 0; i < count; i++) run(sections[i], state[i], start, longer, length, RW_LEADS);
  memcpy(start, end, sizeof start);
  for (int i = 0; i < count; i++) run(sections[i], state[i], start, end, length, -RW_LEADS);
  memcpy(signal, middle, (size_t)samples * RW_LEADS * sizeof *signal);
  free(longer);
  return 0;
}

/* Move values below the pivot (or, with `equal`, those that equal it) to the front of values[low..high]; where the
 * others begin. Without a branch on the values, which no processor could foretell: several times as fast. */
static int part(double *values, int low, int high, double pivot, int equal) {
  int next = low;
  for (int i = low; i <= high; i++) {
    double value = values[i];
    values[i] = values[next];
    values[next] = value;
    next += equal ? value == pivot : value < pivot;
  }
  return next;
}

static double middle_of(double a, double b, double c) { return fmax(fmin(a, b), fmin(fmax(a, b), c)); }

/* Quickselect: afterwards values[rank] is in its place, lower ones before and higher ones behind it. */
static void put_in_place(double *values, int count, int rank) {
  int low = 0, high = count - 1;
  while (high - low > 12) {
    double pivot = middle_of(values[low], values[low + (high - low) / 2], values[high]);
    int from = part(values, low, high, pivot, 0);
    if (rank < from) {
      high = from - 1;
    } else {
      low = part(values, from, high, pivot, 1);
      if (rank < low) return;
    }
  }
  for (int i = low + 1; i <= high; i++) {
    double value = values[i];
    int j = i;
    for (; j > low && values[j - 1] > value; j--) values[j] = values[j - 1];
    values[j] = value;
  }
}

double rw_median(double *values, int count) {
  int half = count / 2;
  put_in_place(values, count, half);
  if (count % 2) return values[half];
  double below = values[0];
  for (int i = 1; i < half; i++) below = values[i] > below ? values[i] : below;
  return (below + values[half]) / 2;
}

void rw_lead_medians(const double *signal, int samples, int absolute, double *room, double medians[RW_LEADS]) {
  for (int l = 0; l < RW_LEADS; l++) {
    for (int i = 0; i < samples; i++) room[i] = signal[(size_t)i * RW_LEADS + l];
    for (int i = 0; absolute && i < samples; i++) room[i] = fabs(room[i]);
    medians[l] = rw_median(room, samples);
  }
}
