/* A picture as the encoder reads it: greys stretched between two percentiles, a square, and its measurements. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#define LEVELS_OF_DIGITS 3
#define DIGITS 2048

static const double percentiles[] = {0.5, 99.5, 10, 25, 50, 75, 90};
enum { PERCENTILES = sizeof percentiles / sizeof *percentiles };

/* A linear interpolation between two ranks, and what numpy.percentile makes of it. */
typedef struct {
  float before, after;
  double part;
} place;

/* How a grey becomes a pixel. */
typedef struct {
  double low, range;
  int single; /* numpy computes in single precision */
} stretch;

void rw_image_grey(const uint8_t *pixels, int count, int stride, float *grey) {
  /* From the first to the last, as `pixels` may lie in the last bytes of `grey`. */
  for (int i = 0; i < count; i++) {
    const uint8_t *p = pixels + (size_t)i * stride;
    grey[i] = (float)((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
  }
}

/* An integer that sorts as the number does. Both zeros are one. */
static uint32_t order(float value) {
  union { float number; uint32_t bits; } both = {value + 0.0f};
  return both.bits & 0x80000000u ? ~both.bits : both.bits | 0x80000000u;
}

static float number(uint32_t order) {
  union { uint32_t bits; float number; } both = {order & 0x80000000u ? order & 0x7fffffffu : ~order};
  return both.number;
}

/* Selection by counting digits (11, 11 and 10 bits): no copy, no sorting, three passes for all ranks together. Ranks
 * whose numbers begin alike share a group; values of no group are passed over. */
typedef struct {
  uint32_t count[RW_RANKS][DIGITS];
  uint8_t next[LEVELS_OF_DIGITS][RW_RANKS][DIGITS]; /* 1 + the group at the next level, 0: none */
} digits;

static void count_digits(digits *d, int level, const float *grey, int count) {
  for (int i = 0; i < count; i++) {
    uint32_t key = order(grey[i]);
    if (level == 0) {
      d->count[0][key >> 21]++;
      continue;
    }
    int group = d->next[0][0][key >> 21];
    if (group && level == 2) group = d->next[1][group - 1][key >> 10 & 2047];
    if (group) d->count[group - 1][level == 1 ? key >> 10 & 2047 : key & 1023]++;
  }
}

static int any_infinite(const uint32_t *count) {
  /* All bits of the exponent are set, or, of a negative number, cleared. */
  uint32_t found = 0;
  for (int i = 0; i < 4; i++) found += count[i] + count[DIGITS - 1 - i];
  return found != 0;
}

/* The same for whole greys below LEVELS, as most pictures have them: counted in one pass, by four counts so that equal
 * neighbours do not wait for each other. Returns 0 when a grey is another number. */
#define LEVELS 8192
static int select_whole(const float *grey, int count, int ranks, const int *rank, float *values) {
  static uint32_t found[4][LEVELS];
  memset(found, 0, sizeof found);
  for (int i = 0; i < count; i++) {
    if (!(grey[i] >= 0 && grey[i] < LEVELS)) return 0;
    int level = (int)grey[i];
    if ((float)level != grey[i]) return 0;
    found[i & 3][level]++;
  }
  for (int i = 0; i < LEVELS; i++) found[0][i] += found[1][i] + found[2][i] + found[3][i];
  for (int r = 0; r < ranks; r++) {
    uint32_t left = (uint32_t)rank[r];
    int level = 0;
    while (left >= found[0][level]) left -= found[0][level++];
    values[r] = (float)level;
  }
  return 1;
}

int rw_image_select(const float *grey, int count, int ranks, const int *rank, float *values) {
  static digits d;
  uint32_t left[RW_RANKS], key[RW_RANKS];
  int group[RW_RANKS] = {0}, groups = 1;
  if (select_whole(grey, count, ranks, rank, values)) return 0;
  for (int r = 0; r < ranks; r++) left[r] = (uint32_t)rank[r], key[r] = 0;
  for (int level = 0; level < LEVELS_OF_DIGITS; level++) {
    memset(d.count, 0, sizeof *d.count * (size_t)groups);
    memset(d.next[level], 0, sizeof *d.next[level] * (size_t)groups);
    count_digits(&d, level, grey, count);
    if (level == 0 && any_infinite(d.count[0])) return 1;
    groups = 0;
    for (int r = 0; r < ranks; r++) {
      uint32_t digit = 0;
      while (left[r] >= d.count[group[r]][digit]) left[r] -= d.count[group[r]][digit++];
      key[r] = key[r] << (level == 2 ? 10 : 11) | digit;
      uint8_t *next = &d.next[level][group[r]][digit];
      if (!*next) *next = (uint8_t)++groups;
      group[r] = *next - 1;
    }
  }
  for (int r = 0; r < ranks; r++) values[r] = number(key[r]);
  return 0;
}

/* numpy.percentile(..., method="linear"): the difference is one of floats, the rest is double. */
static double interpolate(place at) {
  float difference = at.after - at.before;
  return at.part >= 0.5 ? at.after - difference * (1 - at.part) : at.before + difference * at.part;
}

/* Where the percentiles lie, and the extremes. Returns 1 when a grey is infinite or not a number. */
static int find_places(const float *grey, int count, place *places, float *lowest, float *highest) {
  int rank[RW_RANKS];
  float value[RW_RANKS];
  for (int p = 0; p < PERCENTILES; p++) {
    double where = (count - 1) * (percentiles[p] / 100);
    int before = (int)floor(where);
    places[p].part = where - before;
    rank[2 * p] = before;
    rank[2 * p + 1] = before + 1 < count ? before + 1 : count - 1;
  }
  rank[2 * PERCENTILES] = 0;
  rank[2 * PERCENTILES + 1] = count - 1;
  if (rw_image_select(grey, count, 2 * PERCENTILES + 2, rank, value)) return 1;
  for (int p = 0; p < PERCENTILES; p++) places[p].before = value[2 * p], places[p].after = value[2 * p + 1];
  *lowest = value[2 * PERCENTILES];
  *highest = value[2 * PERCENTILES + 1];
  return 0;
}

static stretch find_stretch(const place *places, float lowest, float highest) {
  double low = interpolate(places[0]), high = interpolate(places[1]);
  if (high > low) return (stretch){low, high - low, 0};
  /* A small bright object may cover less than the percentiles leave out. */
  float range = highest - lowest;
  return (stretch){lowest, range, 1};
}

static float stretched(stretch s, float grey) {
  if (!(s.range > 0)) return 0;
  double pixel = s.single ? (grey - (float)s.low) / (float)s.range : (grey - s.low) / s.range;
  return (float)(pixel < 0 ? 0 : pixel > 1 ? 1 : pixel);
}

/* The percentiles of the pixels: the stretch keeps the order of the greys, so that their places are known. */
static void grey_percentiles(stretch s, const place *places, double *measured) {
  for (int p = 0; p < RW_GREY_PERCENTILES; p++) {
    place at = places[PERCENTILES - RW_GREY_PERCENTILES + p];
    measured[p] = interpolate((place){stretched(s, at.before), stretched(s, at.after), at.part});
  }
}

static int measure(const float *pixels, int width, int height, stretch s, const place *places, double *measured) {
  float *squared = malloc(sizeof(float) * RW_MEASURED_EDGE * RW_MEASURED_EDGE);
  int failed = squared ? rw_image_square(pixels, width, height, RW_MEASURED_EDGE, squared) : RW_MEMORY;
  /* An image of one grey has no measurements. */
  if (!failed && rw_model.image_measured && s.range > 0) {
    grey_percentiles(s, places, measured);
    failed = rw_image_measure(pixels, width, height, squared, measured + RW_GREY_PERCENTILES);
  }
  if (!failed && rw_model.image_local) rw_image_measure_locally(squared, measured + RW_IMAGE_MEASUREMENTS);
  free(squared);
  return failed;
}

int rw_image_read(float *grey, int width, int height, float *prepared, double *measured) {
  place places[PERCENTILES];
  float lowest, highest;
  if (width < RW_IMAGE_LEAST || height < RW_IMAGE_LEAST || width > RW_IMAGE_MOST || height > RW_IMAGE_MOST)
    return RW_IMAGE_SIZE;
  int count = width * height;
  if (find_places(grey, count, places, &lowest, &highest)) return RW_IMAGE_VALUE;
  stretch s = find_stretch(places, lowest, highest);
  if (!isfinite(s.range)) return RW_IMAGE_VALUE;
  for (int i = 0; i < count; i++) grey[i] = stretched(s, grey[i]);
  for (int i = 0; i < RW_IMAGE_MEASUREMENTS + RW_IMAGE_LOCAL; i++) measured[i] = NAN;
  int failed = rw_image_square(grey, width, height, rw_model.image_size, prepared);
  if (!failed && (rw_model.image_measured || rw_model.image_local))
    failed = measure(grey, width, height, s, places, measured);
  return failed;
}
