/* The resize of Pillow for float images (Image.resize, bilinear, with antialiasing) in the same order of operations:
 * coefficients and sums are double, and what is stored between the passes is float. Pillow's bars of zeros add nothing
 * to a sum, so they are left out. */
#include "image.h"

#include <stdlib.h>
#include <wasm_simd128.h>

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

typedef double two __attribute__((vector_size(16), aligned(8)));
typedef float half __attribute__((vector_size(8), aligned(4)));

/* Four rows at once, side by side: double[width][4]. Of fewer rows, the last one again. */
static void beside(const float *row, int width, int rows, double *four) {
  const float *at[4];
  for (int r = 0; r < 4; r++) at[r] = row + (size_t)(r < rows ? r : rows - 1) * width;
  for (int x = 0; x < width; x++, four += 4)
    for (int r = 0; r < 4; r++) four[r] = at[r][x];
}

static void across(const double *four, int width, int rows, int size, const filter *filters, int start, float *out) {
  for (int x = 0; x < size; x++) {
    filter f = within(filters[x], start, width);
    const two *at = (const two *)(four + 4 * f.first);
    two ab = {0}, cd = {0};
    for (int i = 0; i < f.count; i++, at += 2) {
      ab += at[0] * f.weight[i];
      cd += at[1] * f.weight[i];
    }
    float sum[4] = {(float)ab[0], (float)ab[1], (float)cd[0], (float)cd[1]};
    for (int r = 0; r < rows; r++) out[r * size + x] = sum[r];
  }
}

static two wide(const float *pixels) { return __builtin_convertvector(*(const half *)pixels, two); }

/* Four sums as pixels from 0 to 1. */
static void clip(two a, two b, float *out) {
  v128_t low = wasm_f32x4_demote_f64x2_zero((v128_t)a), high = wasm_f32x4_demote_f64x2_zero((v128_t)b);
  v128_t four = wasm_i64x2_shuffle(low, high, 0, 2);
  four = wasm_f32x4_pmin(wasm_f32x4_pmax(four, wasm_f32x4_splat(0)), wasm_f32x4_splat(1));
  wasm_v128_store(out, four);
}

/* One row of the square. Eight pixels at once, whose sums stay in registers. */
static void down(const float *rows, int height, int size, filter f, int start, float *out) {
  f = within(f, start, height);
  rows += (size_t)f.first * size;
  int x = 0;
  for (; x + 8 <= size; x += 8) {
    const float *row = rows + x;
    two a = {0}, b = {0}, c = {0}, d = {0};
    for (int i = 0; i < f.count; i++, row += size) {
      a += wide(row) * f.weight[i];
      b += wide(row + 2) * f.weight[i];
      c += wide(row + 4) * f.weight[i];
      d += wide(row + 6) * f.weight[i];
    }
    clip(a, b, out + x), clip(c, d, out + x + 4);
  }
  for (; x < size; x++) {
    double sum = 0;
    for (int i = 0; i < f.count; i++) sum += rows[(size_t)i * size + x] * f.weight[i];
    float value = (float)sum;
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
  double *four = malloc(4 * sizeof(double) * width);
  int failed = filters && narrow && four ? 0 : RW_MEMORY;
  for (int y = 0; y < height && !failed; y += 4) {
    int rows = height - y < 4 ? height - y : 4;
    beside(pixels + (size_t)y * width, width, rows, four);
    across(four, width, rows, size, filters, left, narrow + (size_t)y * size);
  }
  for (int y = 0; y < size && !failed; y++)
    down(narrow, height, size, filters[y], top, squared + (size_t)y * size);
  free(filters);
  free(narrow);
  free(four);
  return failed;
}
