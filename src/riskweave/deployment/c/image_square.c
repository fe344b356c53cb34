/* The resize of Pillow for float images (Image.resize, bilinear, with antialiasing) in the same order of operations:
 * coefficients and sums are double, and what is stored between the passes is float. Pillow's bars of zeros add nothing
 * to a sum, so they are left out. */
#include "image.h"

#include <stdlib.h>

/* The weights of one output pixel: count of them, for input pixels from first on. */
typedef struct {
  _Alignas(double) int first; /* weights follow the filters in memory */
  int count;
  double *weight;
} filter;

static double triangle(double x) {
  if (x < 0) x = -x;
  return x < 1 ? 1 - x : 0;
}

/* The filters of a resize from `edge` to `size` pixels; NULL where there is no room. One block of memory. */
static filter *make_filters(int edge, int size) {
  double scale = (double)edge / size, support = scale < 1 ? 1 : scale, step = 1 / support;
  int most = (int)ceil(support) * 2 + 1;
  filter *filters = malloc(size * (sizeof(filter) + sizeof(double) * (size_t)most));
  if (!filters) return NULL;
  double *weights = (double *)(filters + size);
  for (int out = 0; out < size; out++) {
    double centre = (out + 0.5) * scale, sum = 0;
    int first = (int)(centre - support + 0.5), last = (int)(centre + support + 0.5);
    if (first < 0) first = 0;
    if (last > edge) last = edge;
    double *weight = weights + (size_t)out * most;
    for (int i = 0; i < last - first; i++) sum += weight[i] = triangle((i + first - centre + 0.5) * step);
    for (int i = 0; i < last - first && sum != 0; i++) weight[i] /= sum;
    filters[out] = (filter){first, last - first, weight};
  }
  return filters;
}

/* The part of a filter that lies within `count` pixels from `start` on, counted from there. */
static filter within(filter f, int start, int count) {
  int first = f.first > start ? f.first : start, last = f.first + f.count;
  if (last > start + count) last = start + count;
  return (filter){first - start, last > first ? last - first : 0, f.weight + (first - f.first)};
}

/* Four rows at once: their sums do not wait for each other. */
static void across(const float *row, int width, int rows, int size, const filter *filters, int start, float *out) {
  const float *a = row, *b = row + (rows > 1) * width, *c = row + (rows > 2) * 2 * width;
  const float *d = row + (rows > 3) * 3 * width;
  for (int x = 0; x < size; x++) {
    filter f = within(filters[x], start, width);
    double sum[4] = {0};
    for (int i = 0; i < f.count; i++) {
      double weight = f.weight[i];
      sum[0] += a[f.first + i] * weight;
      sum[1] += b[f.first + i] * weight;
      sum[2] += c[f.first + i] * weight;
      sum[3] += d[f.first + i] * weight;
    }
    for (int r = 0; r < rows; r++) out[r * size + x] = (float)sum[r];
  }
}

static void down(const float *rows, int height, int size, filter f, int start, double *sum, float *out) {
  f = within(f, start, height);
  for (int x = 0; x < size; x++) sum[x] = 0;
  for (int i = 0; i < f.count; i++) {
    const float *row = rows + (size_t)(f.first + i) * size;
    for (int x = 0; x < size; x++) sum[x] += row[x] * f.weight[i];
  }
  for (int x = 0; x < size; x++) {
    float value = (float)sum[x];
    out[x] = value < 0 ? 0 : value > 1 ? 1 : value;
  }
}

static void pad(const float *pixels, int width, int height, int left, int top, int size, float *squared) {
  for (int i = 0; i < size * size; i++) squared[i] = 0;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) squared[(top + y) * size + left + x] = pixels[y * width + x];
}

int rw_image_square(const float *pixels, int width, int height, int size, float *squared) {
  int edge = width > height ? width : height, left = (edge - width) / 2, top = (edge - height) / 2;
  if (edge == size) {
    pad(pixels, width, height, left, top, size, squared);
    return 0;
  }
  filter *filters = make_filters(edge, size);
  float *narrow = malloc(sizeof(float) * (size_t)height * size);
  double *sum = malloc(sizeof(double) * size);
  int failed = filters && narrow && sum ? 0 : RW_MEMORY;
  for (int y = 0; y < height && !failed; y += 4) {
    int rows = height - y < 4 ? height - y : 4;
    across(pixels + (size_t)y * width, width, rows, size, filters, left, narrow + (size_t)y * size);
  }
  for (int y = 0; y < size && !failed; y++)
    down(narrow, height, size, filters[y], top, sum, squared + (size_t)y * size);
  free(filters);
  free(narrow);
  free(sum);
  return failed;
}
