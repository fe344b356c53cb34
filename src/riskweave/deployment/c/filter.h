/* Signals of twelve leads: filters, another sampling rate, medians.
 *
 * A signal is double[samples][RW_LEADS], the leads of a moment side by side, so that one loop runs all of them: a
 * recursive filter waits for its own last result, twelve of them side by side keep the processor busy. Everything
 * follows scipy.signal step by step and in double; what differs is the rounding of sin, tan and of a few products. */
#ifndef RISKWEAVE_FILTER_H
#define RISKWEAVE_FILTER_H
#include <wasm_simd128.h>

#include "internal.h"

/* Numbers of two leads. */
typedef double rw_two __attribute__((vector_size(16), aligned(8)));

/* A second-order section: y = b0 x + b1 x' + b2 x'' - a1 y' - a2 y''. Both zeros lie at 1 or at -1: b2 is b0. */
typedef struct { double b0, b1, b2, a1, a2; } rw_section;

/* Butterworth filters of second order, as scipy.signal.butter(2, ..., output="sos"); edges and rate in Hz,
 * 0 < edge < rate / 2. A band-pass has two sections, the second one with b0 = 1; a high-pass has one. */
void rw_butter_bandpass(double low, double high, double rate, rw_section sections[2]);
void rw_butter_highpass(double edge, double rate, rw_section sections[1]);

/* Run a filter of those over a signal and back, as scipy.signal.sosfiltfilt: continued by `padding` (< samples) mirrored
 * samples at both ends. `filtered` may be `signal`. 0 or RW_MEMORY. */
int rw_filtfilt(const rw_section *sections, int count, int padding, const double *signal, double *filtered,
                int samples);

/* The signal at another rate, as riskweave.modalities.signals.resample: a new array of *count samples, which the caller
 * frees, also where the rates are the same; NULL without memory. */
double *rw_resample(const double *signal, int samples, double rate, double target, int *count);

/* The number of a rank, 0 the lowest; the values are put into another order. No NaN. */
double rw_ranked(double *values, int count, int rank);
/* The median; the values are put into another order. count >= 1, no NaN. */
double rw_median(double *values, int count);
/* What is in the middle of two columns of at most RW_FEW numbers side by side: half of their sum is the median, as both
 * are the same number where the count is odd. The numbers may be put into another order. */
#define RW_FEW 32
typedef struct { rw_two below, above; } rw_middle;
rw_middle rw_few_middles(rw_two *values, int count);
/* Lower and higher ones, side by side: a where they are equal. */
#define rw_lower(a, b) ((rw_two)wasm_f64x2_pmin((v128_t)(a), (v128_t)(b)))
#define rw_higher(a, b) ((rw_two)wasm_f64x2_pmax((v128_t)(a), (v128_t)(b)))
/* The medians of the leads, each of |x| where `absolute`. `room` is double[2 * samples]. */
void rw_lead_medians(const double *signal, int samples, int absolute, double *room, double medians[RW_LEADS]);

/* Rounds halves to even, as Python does. */
static inline int rw_round(double value) { return (int)rint(value); }
static inline int rw_min(int a, int b) { return a < b ? a : b; }
static inline int rw_max(int a, int b) { return a > b ? a : b; }
#endif
