/* Convolution with neighbouring outputs side by side in vectors.
 *
 * Each output is the sum of the same products in the same order as in the plain loops: bias, then input channels, rows
 * and columns of the kernel. So the bits are the same. What lies outside the input is read as 0: a product of 0 changes
 * no sum but -0, and a sum is -0 only where the bias is.
 *
 * The sums of a tile, RW_BLOCK channels at RW_TILE places, stay in registers over one loop with few other values in it:
 * run times that compile quickly keep no more of them there, and those that watch loops pay at the end of each. */
#include "convolution.h"

#include <stddef.h>

typedef float four __attribute__((vector_size(16), aligned(4)));

/* Where the packed rows of an output row are, and how long. */
typedef struct {
  const rw_convolution_sizes *sizes;
  int row;            /* floats of a packed row */
  int start, length;  /* of a packed row: its first place over the stride, its places of one remainder */
  int taps;           /* of all inputs */
  int *offset;        /* of each tap in the packed rows */
  float *packed;
} plan;

static int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
static int within(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }

/* Zeros from one place to another: few, for which a call of memset takes longer than they do. */
#define FEW __attribute__((no_builtin("memset")))
FEW static void clear(float *to, int from, int end) {
  for (int i = from; i < end; ++i) to[i] = 0.0f;
}

/* One remainder of the position by the stride in packed rows: the values that follow one another in the output, with
 * zeros around them and for rows outside. Place i holds the value at (start + i) * stride + phase. */
FEW static void pack_phase(const plan *at, const float *input, int y, int phase) {
  const rw_convolution_sizes *s = at->sizes;
  const int stride = s->stride_x, length = at->length, first = within(-at->start, length);
  const int reach = within(floor_divide(s->width - 1 - phase, stride) - at->start + 1, length);
  const int last = reach > first ? reach : first;
  const ptrdiff_t skipped = (at->start + first) * stride + phase;
  float *to = at->packed + phase * length;
  for (int channel = 0; channel < s->inputs; ++channel, input += (size_t)s->height * s->width)
    for (int k = 0; k < s->taps_y; ++k, to += at->row) {
      const int row = y * s->stride_y + k * s->dilation_y - s->pad_y;
      if (row < 0 || row >= s->height) {
        clear(to, 0, length);
        continue;
      }
      const float *x = input + (size_t)row * s->width + skipped;
      clear(to, 0, first);
      int i = first;
      for (; stride == 1 && i + 4 <= last; i += 4, x += 4) *(four *)(to + i) = *(const four *)x;
      for (; i < last; ++i, x += stride) to[i] = *x;
      clear(to, last, length);
    }
}

/* Rows of the input under row y of the output, those outside too. */
static void pack(const plan *at, const float *input, int y) {
  for (int phase = 0; phase < at->sizes->stride_x; ++phase) pack_phase(at, input, y, phase);
}

/* One number of a vector in all places. */
#define EACH(vector, place) __builtin_shufflevector(vector, vector, place, place, place, place)

/* The sums of four channels at RW_TILE neighbouring places. */
__attribute__((noinline)) static void sum_four(int taps, const int *offset, const float *packed, const float *w,
                                               const float *bias, four *sums) {
  four a0 = {bias[0], bias[0], bias[0], bias[0]}, b0 = a0, a1 = {bias[1], bias[1], bias[1], bias[1]}, b1 = a1;
  four a2 = {bias[2], bias[2], bias[2], bias[2]}, b2 = a2, a3 = {bias[3], bias[3], bias[3], bias[3]}, b3 = a3;
/* What three taps read fits into registers beside the sums, what four read does not. */
#pragma clang loop unroll_count(3)
  for (const int *end = offset + taps; offset < end; ++offset, w += 4) {
    const four *x = (const four *)(packed + *offset);
    const four x0 = x[0], x1 = x[1], all = *(const four *)w;
    const four w0 = EACH(all, 0), w1 = EACH(all, 1), w2 = EACH(all, 2), w3 = EACH(all, 3);
    a0 += x0 * w0, b0 += x1 * w0;
    a1 += x0 * w1, b1 += x1 * w1;
    a2 += x0 * w2, b2 += x1 * w2;
    a3 += x0 * w3, b3 += x1 * w3;
  }
  sums[0] = a0, sums[1] = b0, sums[2] = a1, sums[3] = b1, sums[4] = a2, sums[5] = b2, sums[6] = a3, sums[7] = b3;
}

/* The same of one channel. */
__attribute__((noinline)) static void sum_one(int taps, const int *offset, const float *packed, const float *w,
                                              const float *bias, four *sums) {
  four a = {bias[0], bias[0], bias[0], bias[0]}, b = a;
  for (const int *end = offset + taps; offset < end; ++offset, ++w) {
    const four *x = (const four *)(packed + *offset);
    a += x[0] * *w, b += x[1] * *w;
  }
  sums[0] = a, sums[1] = b;
}

/* All outputs of one row of one group, whose inputs are packed. */
static void fill_row(const plan *at, const float *weights, const float *bias, float *output) {
  static const float none[RW_BLOCK];
  const rw_convolution_sizes *s = at->sizes;
  const int block = s->outputs < RW_BLOCK ? 1 : RW_BLOCK;
  const size_t map = (size_t)s->rows * s->columns;
  for (int channel = 0; channel < s->outputs; channel += block, weights += (size_t)at->taps * block) {
    const int channels = s->outputs - channel < block ? s->outputs - channel : block;
    const float *start = bias ? bias + channel : none;
    for (int x = 0; x < s->columns; x += RW_TILE) {
      four sums[2 * RW_BLOCK];
      (block == 1 ? sum_one : sum_four)(at->taps, at->offset, at->packed + x, weights, start, sums);
      const int count = s->columns - x < RW_TILE ? s->columns - x : RW_TILE;
      float *to = output + channel * map + x;
      for (int c = 0; c < channels; ++c, to += map) {
        const float *from = (const float *)&sums[2 * c];
        if (count == RW_TILE)
          ((four *)to)[0] = sums[2 * c], ((four *)to)[1] = sums[2 * c + 1];
        else
          for (int i = 0; i < count; ++i) to[i] = from[i];
      }
    }
  }
}

static plan planned(const rw_convolution_sizes *s, float *scratch) {
  const int start = floor_divide(-s->pad_x, s->stride_x), kernel = s->taps_y * s->taps_x;
  const int end = floor_divide((s->taps_x - 1) * s->dilation_x - s->pad_x, s->stride_x);
  const int length = (s->columns + RW_TILE - 1) / RW_TILE * RW_TILE + end - start;
  plan at = {s, length * s->stride_x, start, length, s->inputs * kernel, (int *)scratch, scratch + s->inputs * kernel};
  for (int tap = 0; tap < at.taps; ++tap) {
    const int shift = tap % s->taps_x * s->dilation_x - s->pad_x, step = floor_divide(shift, s->stride_x);
    at.offset[tap] = tap / s->taps_x * at.row + (shift - step * s->stride_x) * length + step - start;
  }
  return at;
}

void rw_convolution(const rw_convolution_sizes *s, const float *input, const float *weights, const float *bias,
                    float *output, void *scratch) {
  const plan at = planned(s, scratch);
  const int padded = s->outputs < RW_BLOCK ? s->outputs : (s->outputs + RW_BLOCK - 1) / RW_BLOCK * RW_BLOCK;
  for (int group = 0; group < s->groups; ++group) {
    for (int y = 0; y < s->rows; ++y) {
      pack(&at, input, y);
      fill_row(&at, weights, bias, output + (size_t)y * s->columns);
    }
    input += (size_t)s->inputs * s->height * s->width;
    weights += (size_t)padded * at.taps;
    output += (size_t)s->outputs * s->rows * s->columns;
    if (bias) bias += padded;
  }
}
