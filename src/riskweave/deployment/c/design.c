/* From the feature columns to a member's design, as riskweave.survival.preprocessing.DesignMatrix.design makes it. */
#include "internal.h"

/* Whether a column tells anything: a count of 0 does not, as in the pipeline. */
static int tells(const rw_column *column, double value) {
  return !isnan(value) && value != rw_without_events(column->kind);
}

static int has_row(int set, int ecg, int image) {
  switch (rw_model.set[set].presence) {
    case RW_ALWAYS: return 1;
    case RW_HAS_ECG: return ecg;
    case RW_HAS_IMAGE: return image;
  }
  for (int i = 0; i < rw_model.columns; i++)
    if (rw_model.column[i].set == set && tells(&rw_model.column[i], rw_memory.column[i])) return 1;
  return 0;
}

/* A modality is there where one of its feature sets has a row; what the other sets lack is then imputed. */
void rw_make_present(int ecg, int image) {
  for (int i = 0; i < rw_model.modalities; i++) rw_memory.present[i] = 0;
  for (int i = 0; i < rw_model.sets; i++)
    if (has_row(i, ecg, image)) rw_memory.present[rw_model.set[i].modality] = 1;
}

/* The value that a term is made of: a column, or an embedding, which is missing where its recording is. */
static double raw(const rw_member *member, const rw_term *term, const float *embedding, int ecg, int image) {
  if (term->column >= 0) return rw_memory.column[term->column];
  int place = -1 - term->column;
  for (int i = 0; i < member->encoders; i++) {
    const rw_encoder *encoder = &member->encoder[i];
    if (place < encoder->first || place >= encoder->first + encoder->count) continue;
    if (!(encoder->recording == RW_HAS_ECG ? ecg : image)) return NAN;
  }
  return embedding[place];
}

static double category(const rw_term *term, double value) {
  int place = isnan(value) ? RW_MISSING_CATEGORY : (int)value;
  for (int i = 0; i < term->categories; i++)
    if (term->category[i] == place) return 1.0;
  return 0.0;
}

static double number(const rw_term *term, double value) {
  if (isnan(value)) return term->fill;
  return value < term->lower ? term->lower : value > term->upper ? term->upper : value;
}

void rw_make_design(const rw_member *member, const float *embedding, int ecg, int image) {
  double *design = rw_memory.design;
  for (int i = 0; i < member->terms; i++) {
    const rw_term *term = &member->term[i];
    if (!rw_memory.present[term->modality]) {
      design[i] = 0.0;
      continue;
    }
    double value = raw(member, term, embedding, ecg, image);
    switch (term->kind) {
      case RW_TERM_MISSING: value = isnan(value); break;
      case RW_TERM_CATEGORY: value = category(term, value); break;
      default: value = number(term, value);
    }
    design[i] = (value - term->mean) / term->scale;
  }
  for (int i = 0; i < member->masks; i++) design[member->terms + i] = rw_memory.present[member->mask[i]];
}
