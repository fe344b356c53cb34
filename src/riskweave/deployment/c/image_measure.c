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

/* Means over rows of sums: the sums of large pictures keep their digits. */
static double contrast(const float *pixels, int width, int height) {
  double count = (double)width * height, mean = 0, variance = 0;
  for (int pass = 0; pass < 2; pass++) {
    double all = 0;
    for (int y = 0; y < height; y++) {
      const float *row = pixels + (size_t)y * width;
      double sum[4] = {0};
      for (int x = 0; x < width; x++) {
        double off = row[x] - mean;
        sum[x & 3] += pass ? off * off : off;
      }
      all += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
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

typedef struct {
  double re[EDGE][EDGE], im[EDGE][EDGE];
} plane;

static void swap_rows(double *a, double *b) {
  for (int x = 0; x < EDGE; x++) {
    double kept = a[x];
    a[x] = b[x];
    b[x] = kept;
  }
}

static void butterfly(plane *p, int upper, int lower, double cosine, double sine) {
  double *ar = p->re[upper], *ai = p->im[upper], *br = p->re[lower], *bi = p->im[lower];
  for (int x = 0; x < EDGE; x++) {
    double re = br[x] * cosine - bi[x] * sine, im = br[x] * sine + bi[x] * cosine;
    br[x] = ar[x] - re;
    bi[x] = ai[x] - im;
    ar[x] += re;
    ai[x] += im;
  }
}

/* Fourier transform of each column (radix 2, decimation in time), all columns at once. */
static void transform(plane *p) {
  for (int y = 1, reversed = 0; y < EDGE; y++) {
    int bit = EDGE >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (y < reversed) {
      swap_rows(p->re[y], p->re[reversed]);
      swap_rows(p->im[y], p->im[reversed]);
    }
  }
  for (int half = 1; half < EDGE; half *= 2) {
    for (int k = 0; k < half; k++) {
      double cosine = cos(pi * k / half), sine = -sin(pi * k / half);
      for (int start = k; start < EDGE; start += 2 * half) butterfly(p, start, start + half, cosine, sine);
    }
  }
}

static void transpose(double (*square)[EDGE]) {
  for (int y = 0; y < EDGE; y++) {
    for (int x = 0; x < y; x++) {
      double kept = square[y][x];
      square[y][x] = square[x][y];
      square[x][y] = kept;
    }
  }
}

/* Power by octave of the distance from the middle of the spectrum. The square comes in p->re, its mean taken off. */
static void octaves(plane *p, double *power) {
  double window[EDGE];
  for (int i = 0; i < EDGE; i++) window[i] = 0.5 + 0.5 * cos(pi * (2 * i + 1 - EDGE) / (EDGE - 1));
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE; x++) p->re[y][x] *= window[y] * window[x], p->im[y][x] = 0;
  transform(p);
  transpose(p->re);
  transpose(p->im);
  transform(p);
  for (int y = 0; y < EDGE; y++) {
    int down = y < EDGE / 2 ? y : y - EDGE;
    double row[OCTAVES] = {0};
    for (int x = 0; x < EDGE; x++) {
      int across = x < EDGE / 2 ? x : x - EDGE, squared = down * down + across * across, octave = -1;
      for (int limit = 4; limit <= squared; limit *= 4) octave++;
      if (octave >= 0 && octave < OCTAVES) row[octave] += p->re[y][x] * p->re[y][x] + p->im[y][x] * p->im[y][x];
    }
    for (int o = 0; o < OCTAVES; o++) power[o] += row[o];
  }
}

static double mean_of(const float *squared, int from, int to) {
  double sum = 0;
  for (int y = 0; y < EDGE; y++) {
    double row = 0;
    for (int x = from; x < to; x++) row += squared[y * EDGE + x];
    sum += row;
  }
  return sum / (EDGE * (to - from));
}

static int power(const float *squared, double *measured) {
  plane *p = malloc(sizeof *p);
  double of_octave[OCTAVES] = {0}, total = 0, mean = mean_of(squared, 0, EDGE);
  if (!p) return RW_MEMORY;
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE; x++) p->re[y][x] = squared[y * EDGE + x] - mean;
  octaves(p, of_octave);
  free(p);
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

/* centre_x, centre_y, spread_x, spread_y, left, middle, right, asymmetry. */
static void places(const float *squared, double *measured) {
  static const int thirds[] = {0, 86, 171, EDGE}; /* as numpy.array_split cuts */
  double columns[EDGE] = {0}, rows[EDGE] = {0}, unlike = 0, mean = mean_of(squared, 0, EDGE);
  for (int y = 0; y < EDGE; y++) {
    const float *row = squared + y * EDGE;
    double difference = 0;
    for (int x = 0; x < EDGE; x++) {
      rows[y] += row[x];
      columns[x] += row[x];
      difference += fabs((double)row[x] - row[EDGE - 1 - x]);
    }
    unlike += difference;
  }
  centre_and_spread(columns, &measured[0], &measured[2]);
  centre_and_spread(rows, &measured[1], &measured[3]);
  for (int i = 0; i < 3; i++) measured[4 + i] = mean_of(squared, thirds[i], thirds[i + 1]) - mean;
  measured[7] = unlike / (EDGE * EDGE);
}

int rw_image_measure(const float *pixels, int width, int height, const float *squared, double *measured) {
  measured[0] = contrast(pixels, width, height);
  measured[1] = entropy(pixels, width * height);
  places(squared, measured + 2 + OCTAVES);
  return power(squared, measured + 2);
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
