/* Measurements of a picture: contrast and entropy, spectrum by octave, where the light is, cells.
 * riskweave.modalities.image_measurements says what they mean. */
#include "image.h"

#include <stdlib.h>

#define EDGE RW_MEASURED_EDGE
#define LEVELS 64
#define OCTAVES 6 /* 2 to 4, ..., 64 to 128 times over the edge */
#define GREY_CELLS 8
#define FINE_CELLS 4
static const double pi = 3.14159265358979323846;
static const double faintest = 1e-8;

typedef double two __attribute__((vector_size(16), aligned(8)));
typedef float two_floats __attribute__((vector_size(8), aligned(4)));

/* The sum over a row of how far it is off the mean, or of the squares of that: of four sums, each of every fourth. */
static double row_sum(const float *row, int width, double mean, int squares) {
  two sum[2] = {{0}};
  int x = 0;
#pragma clang loop unroll_count(2)
  for (; x + 4 <= width; x += 4)
    for (int k = 0; k < 2; k++) {
      two off = __builtin_convertvector(((const two_floats *)(row + x))[k], two) - mean;
      sum[k] += squares ? off * off : off;
    }
  for (; x < width; x++) {
    double off = row[x] - mean;
    sum[x >> 1 & 1][x & 1] += squares ? off * off : off;
  }
  return (sum[0][0] + sum[0][1]) + (sum[1][0] + sum[1][1]);
}

/* Means over rows of sums: the sums of large pictures keep their digits. */
static double contrast(const float *pixels, int width, int height) {
  double count = (double)width * height, mean = 0, variance = 0;
  for (int pass = 0; pass < 2; pass++) {
    double all = 0;
    for (int y = 0; y < height; y++) all += row_sum(pixels + (size_t)y * width, width, mean, pass);
    if (pass)
      variance = all / count;
    else
      mean = all / count;
  }
  return sqrt(variance);
}

/* The edges of numpy's bins are multiples of 1/64, which floats hold: its correction at the edges has nothing to do. */
static double entropy(const float *pixels, int count) {
  int levels[LEVELS + 1] = {0};
  double bits = 0;
  for (int i = 0; i < count; i++) levels[(int)(pixels[i] * LEVELS)]++;
  levels[LEVELS - 1] += levels[LEVELS]; /* the last bin has its right edge */
  for (int level = 0; level < LEVELS; level++) {
    double share = (double)levels[level] / count;
    if (share > 0) bits -= share * log2(share);
  }
  return bits;
}

/* Half of the columns of a square, or half of its spectrum. */
#define HALF (EDGE / 2)
#define STRIPE 8 /* columns that are transformed together: what the processor keeps near */
#define BESIDE 8 /* numbers between rows: without them all rows of a column would want the same places of a cache */
typedef struct {
  double re[EDGE][HALF + BESIDE], im[EDGE][HALF + BESIDE];
} plane;

static void swap_stripes(double *a, double *b) {
  for (int x = 0; x < STRIPE; x++) {
    double kept = a[x];
    a[x] = b[x];
    b[x] = kept;
  }
}

/* Two numbers each of a row. */
typedef struct { two re, im; } pair;

static inline void butterfly(pair *a, pair *b, two cosine, two sine) {
  two re = b->re * cosine - b->im * sine, im = b->re * sine + b->im * cosine;
  b->re = a->re - re, b->im = a->im - im;
  a->re += re, a->im += im;
}

/* Two levels of four rows `half` apart, from row `upper` on: two butterflies, then two across, of other turns. */
static void four_rows(plane *p, int first, int upper, int half, const double *cosines, const double *sines, int turn) {
  int across = turn / 2, beyond = across + HALF / 2;
  two c = {cosines[turn], cosines[turn]}, s = {sines[turn], sines[turn]};
  two d = {cosines[across], cosines[across]}, t = {sines[across], sines[across]};
  two e = {cosines[beyond], cosines[beyond]}, u = {sines[beyond], sines[beyond]};
  two *re[4], *im[4];
  for (int r = 0; r < 4; r++) {
    re[r] = (two *)&p->re[upper + r * half][first];
    im[r] = (two *)&p->im[upper + r * half][first];
  }
  for (int x = 0; x < STRIPE / 2; x++) {
    pair v[4];
    for (int r = 0; r < 4; r++) v[r] = (pair){re[r][x], im[r][x]};
    butterfly(&v[0], &v[1], c, s);
    butterfly(&v[2], &v[3], c, s);
    butterfly(&v[0], &v[2], d, t);
    butterfly(&v[1], &v[3], e, u);
    for (int r = 0; r < 4; r++) re[r][x] = v[r].re, im[r][x] = v[r].im;
  }
}

/* Fourier transform of STRIPE columns from `first` on (radix 2, decimation in time; two levels at a time). */
static void transform_stripe(plane *p, int first, const double *cosines, const double *sines) {
  for (int y = 1, reversed = 0; y < EDGE; y++) {
    int bit = EDGE >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (y < reversed) {
      swap_stripes(&p->re[y][first], &p->re[reversed][first]);
      swap_stripes(&p->im[y][first], &p->im[reversed][first]);
    }
  }
  for (int half = 1; half < EDGE; half *= 4)
    for (int start = 0; start < EDGE; start += 4 * half)
      for (int k = 0; k < half; k++) four_rows(p, first, start + k, half, cosines, sines, k * (HALF / half));
}

static void transform(plane *p) {
  double cosines[HALF], sines[HALF];
  for (int k = 0; k < HALF; k++) cosines[k] = cos(pi * k / HALF), sines[k] = -sin(pi * k / HALF);
  for (int first = 0; first < HALF; first += STRIPE) transform_stripe(p, first, cosines, sines);
}

/* Half of two rows of two numbers, as two rows of what were columns. */
static inline void turned(two a, two b, double *first, double *second) {
  a = 0.5 * a, b = 0.5 * b;
  *(two *)first = __builtin_shufflevector(a, b, 0, 2);
  *(two *)second = __builtin_shufflevector(a, b, 1, 3);
}

/* The right half of the square travels as the imaginary part of the left one. Their spectra, of the frequencies from 0
 * to HALF - 1, apart again and with rows and columns exchanged. */
static void part(const plane *both, plane *apart) {
  for (int y = 0; y < HALF; y += 2) {
    int other = (EDGE - y) % EDGE;
    for (int x = 0; x < HALF; x += 2) {
      two re[2], im[2], mirrored_re[2], mirrored_im[2];
      for (int k = 0; k < 2; k++) {
        int row = k ? EDGE - y - 1 : other;
        re[k] = *(const two *)&both->re[y + k][x], im[k] = *(const two *)&both->im[y + k][x];
        mirrored_re[k] = *(const two *)&both->re[row][x], mirrored_im[k] = *(const two *)&both->im[row][x];
      }
      turned(re[0] + mirrored_re[0], re[1] + mirrored_re[1], &apart->re[x][y], &apart->re[x + 1][y]);
      turned(im[0] - mirrored_im[0], im[1] - mirrored_im[1], &apart->im[x][y], &apart->im[x + 1][y]);
      turned(im[0] + mirrored_im[0], im[1] + mirrored_im[1], &apart->re[HALF + x][y], &apart->re[HALF + x + 1][y]);
      turned(mirrored_re[0] - re[0], mirrored_re[1] - re[1], &apart->im[HALF + x][y], &apart->im[HALF + x + 1][y]);
    }
  }
}

/* Power by octave of the distance from the middle of the spectrum, of one row of it: 4^(octave + 1) <= squared distance
 * < 4^(octave + 2). */
static void add_row(const double *re, const double *im, int away, double *power) {
  double of[HALF];
  for (int x = 0; x < HALF; x++) of[x] = re[x] * re[x] + im[x] * im[x];
  /* A picture has no imaginary part: the other half of its spectrum is the same. */
  of[0] *= 0.5;
  int x = 0;
  while (x < HALF && x * x + away * away < 4) x++;
  for (int octave = 0, limit = 16; octave < OCTAVES; octave++, limit *= 4) {
    int end = x;
    while (end < HALF && end * end + away * away < limit) end++;
    double sum = power[octave];
#pragma clang loop unroll_count(8)
    for (; x < end; x++) sum += 2 * of[x];
    power[octave] = sum;
  }
}

/* Powers of a square less its mean. `two` is room. */
static void octaves(const float *squared, double mean, plane *two, double *power) {
  double window[EDGE];
  plane *both = two, *apart = two + 1;
  for (int i = 0; i < EDGE; i++) window[i] = 0.5 + 0.5 * cos(pi * (2 * i + 1 - EDGE) / (EDGE - 1));
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < HALF; x++) {
      const float *row = squared + y * EDGE;
      both->re[y][x] = (row[x] - mean) * (window[y] * window[x]);
      both->im[y][x] = (row[HALF + x] - mean) * (window[y] * window[HALF + x]);
    }
  transform(both);
  part(both, apart);
  transform(apart);
  for (int y = 0; y < EDGE; y++) {
    double row[OCTAVES] = {0};
    add_row(apart->re[y], apart->im[y], y < HALF ? y : EDGE - y, row);
    for (int o = 0; o < OCTAVES; o++) power[o] += row[o];
  }
}

static int power(const float *squared, double mean, double *measured) {
  plane *two = malloc(2 * sizeof *two);
  double of_octave[OCTAVES] = {0}, total = 0;
  if (!two) return RW_MEMORY;
  octaves(squared, mean, two, of_octave);
  free(two);
  for (int o = 0; o < OCTAVES; o++) total += of_octave[o];
  for (int o = 0; o < OCTAVES; o++) measured[o] = of_octave[o] > 0 ? 10 * log10(of_octave[o] / total) : NAN;
  return 0;
}

static void centre_and_spread(const double *profile, double *centre, double *spread) {
  double light = 0, first = 0, second = 0;
  for (int i = 0; i < EDGE; i++) {
    light += profile[i];
    first += ((i + 0.5) / EDGE - 0.5) * profile[i];
  }
  double middle = first / light;
  for (int i = 0; i < EDGE; i++) {
    double off = (i + 0.5) / EDGE - 0.5 - middle;
    second += off * off * profile[i];
  }
  *centre = 100 * middle;
  *spread = 100 * sqrt(second / light);
}

static double sum_of(const double *profile, int from, int to) {
  double sum = 0;
  for (int i = from; i < to; i++) sum += profile[i];
  return sum;
}

/* The light of each row and column, and the difference between left and right. Sums wait for nothing but themselves:
 * four of them side by side. */
static double profiles(const float *squared, double *rows, double *columns) {
  double unlike = 0;
  for (int x = 0; x < EDGE; x++) columns[x] = 0;
  for (int y = 0; y < EDGE; y++) {
    const float *row = squared + y * EDGE;
    double light[4] = {0}, difference[4] = {0};
    for (int x = 0; x < EDGE; x += 4)
      for (int i = 0; i < 4; i++) {
        columns[x + i] += row[x + i];
        light[i] += row[x + i];
      }
    /* The right half has the same differences. */
    for (int x = 0; x < HALF; x += 4)
      for (int i = 0; i < 4; i++) difference[i] += fabs((double)row[x + i] - row[EDGE - 1 - x - i]);
    rows[y] = (light[0] + light[1]) + (light[2] + light[3]);
    unlike += (difference[0] + difference[1]) + (difference[2] + difference[3]);
  }
  return 2 * unlike / (EDGE * EDGE);
}

/* centre_x, centre_y, spread_x, spread_y, left, middle, right, asymmetry. Returns the mean. */
static double places(const float *squared, double *measured) {
  static const int thirds[] = {0, 86, 171, EDGE}; /* as numpy.array_split cuts */
  double columns[EDGE], rows[EDGE];
  measured[7] = profiles(squared, rows, columns);
  double mean = sum_of(rows, 0, EDGE) / (EDGE * EDGE);
  centre_and_spread(columns, &measured[0], &measured[2]);
  centre_and_spread(rows, &measured[1], &measured[3]);
  for (int i = 0; i < 3; i++)
    measured[4 + i] = sum_of(columns, thirds[i], thirds[i + 1]) / (EDGE * (thirds[i + 1] - thirds[i])) - mean;
  return mean;
}

int rw_image_measure(const float *pixels, int width, int height, const float *squared, double *measured) {
  measured[0] = contrast(pixels, width, height);
  measured[1] = entropy(pixels, width * height);
  return power(squared, places(squared, measured + 2 + OCTAVES), measured + 2);
}

/* Means of cells x cells blocks of a square of doubles with `edge` pixels a side. */
static void block_means(const double *image, int edge, int cells, double *means) {
  int size = edge / cells;
  for (int cell = 0; cell < cells * cells; cell++) {
    const double *corner = image + cell / cells * size * edge + cell % cells * size;
    double sum = 0;
    for (int y = 0; y < size; y++)
      for (int x = 0; x < size; x++) sum += corner[y * edge + x];
    means[cell] = sum / (size * size);
  }
}

/* Energy of the Laplacian in each cell, the image being `edge` pixels wide. */
static void fine(const double *image, int edge, double *measured) {
  static double grey[EDGE / 2 * EDGE / 2], energy[EDGE / 2 * EDGE / 2];
  block_means(image, EDGE, edge, grey);
  for (int i = 0; i < edge * edge; i++) {
    int y = i / edge, x = i % edge;
    /* The margin has no neighbours outside: it counts as without structure. */
    int inside = y > 0 && x > 0 && y < edge - 1 && x < edge - 1;
    double laplacian =
        inside ? 4 * grey[i] - grey[i - edge] - grey[i + edge] - grey[i - 1] - grey[i + 1] : 0;
    energy[i] = laplacian * laplacian;
  }
  block_means(energy, edge, FINE_CELLS, measured);
  for (int i = 0; i < FINE_CELLS * FINE_CELLS; i++) measured[i] = 10 * log10(measured[i] + faintest);
}

void rw_image_measure_locally(const float *squared, double *measured) {
  static double image[EDGE * EDGE];
  int structure = 0;
  for (int i = 0; i < EDGE * EDGE; i++) {
    image[i] = squared[i];
    structure |= squared[i] != squared[0];
  }
  if (!structure) return; /* the caller's NaN stay */
  block_means(image, EDGE, GREY_CELLS, measured);
  measured += GREY_CELLS * GREY_CELLS;
  for (int edge = 128; edge >= 32; edge /= 2, measured += FINE_CELLS * FINE_CELLS) fine(image, edge, measured);
}
