/* Convolutions of networks; see convolution.c. */
#ifndef RISKWEAVE_CONVOLUTION_H
#define RISKWEAVE_CONVOLUTION_H

#define RW_TILE 8        /* neighbouring outputs that are summed together */
#define RW_BLOCK 4       /* channels that are summed together */

typedef struct {
  int groups, inputs, outputs;     /* channels of one group */
  int height, width;               /* of the input */
  int rows, columns;               /* of the output */
  int taps_y, taps_x, stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
} rw_convolution_sizes;

/* From input [groups * inputs][height][width] to output [groups * outputs][rows][columns].
 *
 * Weights lie in the order in which they are needed: [groups][blocks][inputs][taps_y][taps_x][block] and bias
 * [groups][blocks][block], or NULL, in blocks of RW_BLOCK channels, the last one filled up by zeros; channels of groups
 * with fewer outputs lie one by one. No number of the bias is -0. `scratch` is aligned like a float and holds inputs *
 * taps_y * (taps_x + stride_x * (columns rounded up to RW_TILE + reach)) numbers of four bytes, where reach is
 * floor(((taps_x - 1) * dilation_x - pad_x) / stride_x) - floor(-pad_x / stride_x). */
void rw_convolution(const rw_convolution_sizes *, const float *input, const float *weights, const float *bias,
                    float *output, void *scratch);
#endif
