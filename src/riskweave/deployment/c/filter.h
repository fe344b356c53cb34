/* Signals of twelve leads: filters, another sampling rate, medians.
 *
 * A signal is double[samples][RW_LEADS], the leads of a moment side by side, so that one loop runs all of them: a
 * recursive filter waits for its own last result, twelve of them side by side keep the processor busy. Everything
 * follows scipy.signal step by step and in double; what differs is the rounding of sin, tan and of a few products. */
#ifndef RISKWEAVE_FILTER_H
#define RISKWEAVE_FILTER_H
#include "internal.h"

/* A second-order section: y = b0 x + b1 x' + b2 x'' - a1 y' - a2 y''. */
typedef struct { double b0, b1, b2, a1, a2; } rw_section;

/* Butterworth filters of second order, as scipy.signal.butter(2, ..., output="sos"); edges and rate in Hz,
 * 0 < edge < rate / 2. A band-pass has two sections, a high-pass one. */
void rw_butter_bandpass(double low, double high, double rate, rw_section sections[2]);
void rw_butter_highpass(double edge, double rate, rw_section sections[1]);

/* Run a filter of one or two sections over a signal and back, in place, as scipy.signal.sosfiltfilt: continued by
 * `padding` (< samples) mirrored samples at both ends. 0 or RW_MEMORY. */
int rw_filtfilt(const rw_section *sections, int count, int padding, double *signal, int samples);

/* The signal at another rate, as riskweave.modalities.signals.resample: a new array of *count samples, which the caller
 * frees, also where the rates are the same; NULL without memory. */
double *rw_resample(const double *signal, int samples, double rate, double target, int *count);

/* The median; the values are put into another order. count >= 1, no NaN. */
double rw_median(double *values, int count);
/* The medians of the leads, each of |x| where `absolute`. `room` is double[samples]. */
void rw_lead_medians(const double *signal, int samples, int absolute, double *room, double medians[RW_LEADS]);

/* Rounds halves to even, as Python does. */
static inline int rw_round(double value) { return (int)rint(value); }
static inline int rw_min(int a, int b) { return a < b ? a : b; }
static inline int rw_max(int a, int b) { return a > b ? a : b; }
#endif
