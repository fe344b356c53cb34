/* Convolution with neighbouring outputs side by side in vectors.
 *
 * Each output is the sum of the same products in the same order as in the plain loops: bias, then input channels, rows
 * and columns of the kernel. So the bits are the same. What lies outside the input is read as 0: a product of 0 changes
 * no sum but -0, and a sum is -0 only where the bias is. */
#include "convolution.h"

#include <stddef.h>

typedef float four __attribute__((vector_size(16), aligned(4)));

typedef struct {
  const rw_convolution_sizes *sizes;
  int first, last;                 /* rows of the kernel that meet the input, last excluded */
  int row;                         /* floats of a packed row */
  int offset[RW_MAX_TAPS];         /* of each tap in a packed row */
} plan;

static int floor_divide(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

/* Rows of the input under one row of the output: for each channel and row of the kernel, and for each remainder of the
 * position by the stride, the values that follow one another in the output, with zeros around them. */
static void pack(const plan *at, const float *input, int y, int start, int length, float *packed) {
  const rw_convolution_sizes *s = at->sizes;
  for (int channel = 0; channel < s->inputs; ++channel)
    for (int k = at->first; k < at->last; ++k) {
      const float *from = input + ((size_t)channel * s->height + y * s->stride_y + k * s->dilation_y - s->pad_y) * s->width;
      float *to = packed + ((size_t)channel * s->taps_y + k) * at->row;
      for (int phase = 0; phase < s->stride_x; ++phase)
        for (int i = 0; i < length; ++i) {
          const int x = (start + i) * s->stride_x + phase;
          *to++ = x >= 0 && x < s->width ? from[x] : 0.0f;
        }
    }
}

/* Outputs of `channels` channels (a constant of the caller) at RW_TILE neighbouring places. */
static inline __attribute__((always_inline)) void tile(int channels, const plan *at, const float *packed,
                                                       const float *weights, const float *bias, float *output,
                                                       int count) {
  const rw_convolution_sizes *s = at->sizes;
  const size_t kernel = (size_t)s->inputs * s->taps_y * s->taps_x, map = (size_t)s->rows * s->columns;
  four left[4], right[4];
  for (int c = 0; c < channels; ++c) {
    const float start = bias ? bias[c] : 0.0f;
    left[c] = right[c] = (four){start, start, start, start};
  }
  for (int channel = 0; channel < s->inputs; ++channel)
    for (int k = at->first; k < at->last; ++k) {
      const float *x = packed + ((size_t)channel * s->taps_y + k) * at->row;
      const float *w = weights + ((size_t)channel * s->taps_y + k) * s->taps_x;
      for (int tap = 0; tap < s->taps_x; ++tap) {
        const four a = *(const four *)(x + at->offset[tap]), b = *(const four *)(x + at->offset[tap] + 4);
        for (int c = 0; c < channels; ++c) {
          const float weight = w[c * kernel + tap];
          left[c] += a * weight;
          right[c] += b * weight;
        }
      }
    }
  for (int c = 0; c < channels; ++c)
    for (int i = 0; i < count; ++i) output[c * map + i] = i < 4 ? left[c][i] : right[c][i - 4];
}

void rw_convolution(const rw_convolution_sizes *s, const float *input, const float *weights, const float *bias,
                    float *output, float *scratch) {
  plan at = {.sizes = s};
  const int start = floor_divide(-s->pad_x, s->stride_x);
  const int end = floor_divide((s->taps_x - 1) * s->dilation_x - s->pad_x, s->stride_x);
  const int length = (s->columns + RW_TILE - 1) / RW_TILE * RW_TILE + end - start;
  at.row = length * s->stride_x;
  for (int tap = 0; tap < s->taps_x; ++tap) {
    const int shift = tap * s->dilation_x - s->pad_x, step = floor_divide(shift, s->stride_x);
    at.offset[tap] = (shift - step * s->stride_x) * length + step - start;
  }
  const size_t kernel = (size_t)s->inputs * s->taps_y * s->taps_x, map = (size_t)s->rows * s->columns;
  for (int group = 0; group < s->groups; ++group) {
    for (int y = 0; y < s->rows; ++y) {
      const int top = y * s->stride_y - s->pad_y;
      for (at.first = 0; at.first < s->taps_y && top + at.first * s->dilation_y < 0;) ++at.first;
      for (at.last = s->taps_y; at.last > at.first && top + (at.last - 1) * s->dilation_y >= s->height;) --at.last;
      pack(&at, input, y, start, length, scratch);
      for (int channel = 0; channel < s->outputs;) {
        const int together = s->outputs - channel < 4 ? 1 : 4;
        const float *w = weights + channel * kernel, *b = bias ? bias + channel : NULL;
        float *to = output + channel * map + (size_t)y * s->columns;
        for (int x = 0; x < s->columns; x += RW_TILE) {
          const int count = s->columns - x < RW_TILE ? s->columns - x : RW_TILE;
          if (together == 4)
            tile(4, &at, scratch + x, w, b, to + x, count);
          else
            tile(1, &at, scratch + x, w, b, to + x, count);
        }
        channel += together;
      }
    }
    input += (size_t)s->inputs * s->height * s->width;
    weights += s->outputs * kernel;
    output += s->outputs * map;
    if (bias) bias += s->outputs;
  }
}
