/* What the parts of the image's reading tell each other. riskweave.modalities.image is the reference for all of it. */
#ifndef RISKWEAVE_IMAGE_H
#define RISKWEAVE_IMAGE_H
#include "internal.h"

#define RW_MEASURED_EDGE 256 /* of the square that scales and places are measured in */
#define RW_GREY_PERCENTILES 5 /* the first measurements */

/* The values at the given ranks (0: the smallest) among `count` greys, in `values`. Returns 1 when a grey is infinite
 * or not a number. At most RW_RANKS ranks. */
#define RW_RANKS 16
int rw_image_select(const float *grey, int count, int ranks, const int *rank, float *values);

/* Black bars, then a resize with antialiasing, to float[size][size]. Returns 0 or RW_MEMORY. */
int rw_image_square(const float *pixels, int width, int height, int size, float *squared);

/* MEASUREMENTS but the percentiles, which the caller has; `squared` is float[RW_MEASURED_EDGE][RW_MEASURED_EDGE].
 * `measured` is where the first number goes. Returns 0 or RW_MEMORY. */
int rw_image_measure(const float *pixels, int width, int height, const float *squared, double *measured);
/* LOCAL_MEASUREMENTS; NaN when the square is of one grey. */
void rw_image_measure_locally(const float *squared, double *measured);
#endif
