/* Convolutions of networks; see convolution.c. */
#ifndef RISKWEAVE_CONVOLUTION_H
#define RISKWEAVE_CONVOLUTION_H

#define RW_MAX_TAPS 64   /* in one row of a kernel */
#define RW_TILE 8        /* neighbouring outputs that are summed together */

typedef struct {
  int groups, inputs, outputs;     /* channels of one group */
  int height, width;               /* of the input */
  int rows, columns;               /* of the output */
  int taps_y, taps_x, stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
} rw_convolution_sizes;

/* From input [groups * inputs][height][width], weights [groups * outputs][inputs][taps_y][taps_x] and bias
 * [groups * outputs] or NULL to output [groups * outputs][rows][columns]. No number of the bias is -0. `scratch` holds
 * inputs * taps_y * stride_x * (columns rounded up to RW_TILE + reach) floats, where reach is
 * floor(((taps_x - 1) * dilation_x - pad_x) / stride_x) - floor(-pad_x / stride_x). */
void rw_convolution(const rw_convolution_sizes *, const float *input, const float *weights, const float *bias,
                    float *output, float *scratch);
#endif
