/* What a host calls: keeps a patient's values, reads the recordings once, and predicts. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MAX_SAMPLES 1800000
#define MAX_STORED (1 << 26) /* numbers of a file: what 64 MB may hold */
#define MAX_EDGE 16384
#define MAX_RECORDS (1 << 20)

/* A recording: what the host filled, and what came of reading it. */
typedef struct {
  void *raw;      /* NULL once it is read */
  int given;      /* whether there is one */
  int used;       /* whether it takes part */
  int status;     /* of reading it */
  int samples;    /* of the ECG */
  double rate;
  int width, height, format; /* of the image */
} recording;

/* Numbers as a file stores them, behind the layouts of the leads. */
typedef struct {
  rw_layout *layout; /* [RW_LEADS] */
  int count, bytes;
} rw_stored;

static struct {
  int ready;
  int events, sorted;
  rw_dated event[RW_MAX_EVENTS];
  int records;
  double (*record)[4];
  recording ecg, image;
  rw_stored stored; /* of the ECG, until it is decoded */
  int decoded;      /* files of it that were */
  int lead[RW_LEADS];
} state;

static void forget(recording *some) {
  free(some->raw);
  memset(some, 0, sizeof *some);
}

static void forget_stored(void) {
  free(state.stored.layout);
  memset(&state.stored, 0, sizeof state.stored);
}

static void no_results(void) {
  int cells = rw_model.causes * rw_model.times;
  for (int i = 0; i < cells; i++) rw_memory.risks[i] = NAN;
  for (int i = 0; i < cells * rw_model.members; i++) rw_memory.member_risks[i] = NAN;
  for (int i = 0; i < rw_model.columns; i++) rw_memory.column[i] = NAN;
  for (int i = 0; i < rw_model.modalities; i++) rw_memory.present[i] = 0;
}

RW_EXPORT(rw_abi) int rw_abi(void) { return RW_ABI; }

RW_EXPORT(rw_reset) void rw_reset(void) {
  for (int i = 0; i < rw_model.inputs; i++) rw_memory.number[i] = NAN;
  state.events = 0;
  state.sorted = state.ready = 1;
  forget(&state.ecg);
  forget_stored();
  forget(&state.image);
  rw_records(0);
  no_results();
}

/* A host that forgets rw_reset must not find zeros as values. */
static void begin(void) {
  if (!state.ready) rw_reset();
}

static const rw_input *input_of(int input, int kind) {
  if (input < 0 || input >= rw_model.inputs || rw_model.input[input].kind != kind) return NULL;
  return &rw_model.input[input];
}

/* Bring a value into the model's unit and judge it. */
static int judge(const rw_input *input, double *value, int unit) {
  if (unit < 0 || unit >= input->units) return RW_NO_UNIT;
  double own = *value * input->factor[unit] + input->offset[unit];
  if (!isfinite(own) || own < input->low || own > input->high) return RW_IMPOSSIBLE;
  *value = own;
  return own < input->usual_low || own > input->usual_high ? RW_UNUSUAL : RW_OK;
}

RW_EXPORT(rw_number) int rw_number(int input, double value, int unit) {
  begin();
  const rw_input *known = input_of(input, RW_NUMBER);
  if (!known) return RW_NO_INPUT;
  int answer = judge(known, &value, unit);
  if (answer <= RW_UNUSUAL) rw_memory.number[input] = value;
  return answer;
}

RW_EXPORT(rw_category) int rw_category(int input, int category) {
  begin();
  const rw_input *known = input_of(input, RW_CATEGORY);
  if (!known) return RW_NO_INPUT;
  if (category < 0 || category >= known->categories) return RW_NO_CATEGORY;
  rw_memory.number[input] = category;
  return RW_OK;
}

RW_EXPORT(rw_event) int rw_event(int input, double days, double value, int unit) {
  begin();
  const rw_input *known = input_of(input, RW_EVENTS);
  if (!known) return RW_NO_INPUT;
  if (days < 0 || isinf(days)) return RW_NO_TIME;
  /* Events whose values no column looks at have no units. */
  int answer = isnan(value) || !known->units ? RW_OK : judge(known, &value, unit);
  if (answer > RW_UNUSUAL) return answer;
  if (state.events == RW_MAX_EVENTS) return RW_TOO_MANY;
  state.event[state.events++] = (rw_dated){input, days, value};
  state.sorted = 0;
  return answer;
}

RW_EXPORT(rw_records) double *rw_records(int count) {
  free(state.record);
  state.record = count < 1 || count > MAX_RECORDS ? NULL : malloc(sizeof *state.record * (size_t)count);
  state.records = state.record ? count : 0;
  return (double *)state.record;
}

/* A number of something; none of them where the double is none. */
static int place_of(double number) { return number >= 0 && number <= MAX_RECORDS ? (int)number : -1; }

static int give(const double record[4]) {
  int input = place_of(record[0]), unit = place_of(record[3]);
  if (input_of(input, RW_EVENTS)) return rw_event(input, record[1], record[2], unit);
  if (input_of(input, RW_CATEGORY)) return rw_category(input, place_of(record[2]));
  return rw_number(input, record[2], unit);
}

RW_EXPORT(rw_give) int rw_give(void) {
  int refused = 0;
  for (int i = 0; i < state.records; i++) {
    int answer = give(state.record[i]);
    refused += answer > RW_UNUSUAL;
    state.record[i][0] = answer;
  }
  return refused;
}

RW_EXPORT(rw_clear) int rw_clear(int input) {
  begin();
  if (input < 0 || input >= rw_model.inputs) return RW_NO_INPUT;
  rw_memory.number[input] = NAN;
  int kept = 0;
  for (int i = 0; i < state.events; i++)
    if (state.event[i].input != input) state.event[kept++] = state.event[i];
  state.events = kept;
  return RW_OK;
}

RW_EXPORT(rw_check) int rw_check(int input, double value, int unit) {
  const rw_input *known = input_of(input, RW_EVENTS);
  if (known) return isnan(value) || !known->units ? RW_OK : judge(known, &value, unit);
  known = input_of(input, RW_NUMBER);
  return known ? judge(known, &value, unit) : RW_NO_INPUT;
}

RW_EXPORT(rw_ecg) double *rw_ecg(int samples, double rate) {
  begin();
  forget(&state.ecg);
  forget_stored();
  if (!rw_model.read_ecg || samples < 1 || samples > MAX_SAMPLES / RW_LEADS) return NULL;
  state.ecg.raw = malloc(sizeof(double) * RW_LEADS * (size_t)samples);
  state.ecg.samples = samples;
  state.ecg.rate = rate;
  state.ecg.given = state.ecg.used = state.ecg.raw != NULL;
  state.decoded = 0;
  return state.ecg.raw;
}

RW_EXPORT(rw_ecg_stored) void *rw_ecg_stored(int count, int bytes) {
  forget_stored();
  if (!state.ecg.raw || count < 1 || count > MAX_STORED || (bytes != 2 && bytes != 4)) return NULL;
  size_t layouts = sizeof(rw_layout) * RW_LEADS;
  rw_layout *room = malloc(layouts + (size_t)count * (size_t)bytes);
  if (room) {
    memset(room, 0, layouts);
    state.stored = (rw_stored){room, count, bytes};
  }
  return room;
}

/* Decode the leads of a file; what no file had is missing. 0 when the file does not hold what is asked for. */
static int decode_file(double *leads) {
  const rw_stored *stored = &state.stored;
  int samples = state.ecg.samples, whole = 1;
  for (int i = 0; i < RW_LEADS; i++) {
    const rw_layout *by = stored->layout + i;
    double *lead = leads + i * samples;
    int there = by->step != 0, held = there && rw_lead_within(by, stored->count, samples);
    whole &= there == held;
    if (held) {
      state.lead[i] = rw_lead_decode(*by, stored->layout + RW_LEADS, stored->bytes, lead, samples);
    } else if (!state.decoded) {
      for (int k = 0; k < samples; k++) lead[k] = NAN;
      state.lead[i] = RW_LEAD_NONE;
    }
  }
  state.decoded++;
  return whole;
}

RW_EXPORT(rw_ecg_leads) const int *rw_ecg_leads(void) {
  double *leads = state.ecg.raw;
  int samples = state.ecg.samples, whole = leads != NULL;
  if (state.stored.layout)
    whole = decode_file(leads);
  else
    for (int i = 0; leads && i < RW_LEADS; i++) state.lead[i] = rw_lead_kind(leads + i * samples, samples);
  forget_stored();
  return whole ? state.lead : NULL;
}

RW_EXPORT(rw_image) void *rw_image(int width, int height, int format) {
  static const size_t bytes[] = {sizeof(float), 3, 4, 1};
  begin();
  forget(&state.image);
  if (!rw_model.read_image || width < 1 || height < 1 || width > MAX_EDGE || height > MAX_EDGE) return NULL;
  if (format < 0 || format > 3) return NULL;
  state.image = (recording){.width = width, .height = height, .format = format};
  state.image.raw = malloc(bytes[format] * (size_t)width * (size_t)height);
  state.image.given = state.image.used = state.image.raw != NULL;
  return state.image.raw;
}

RW_EXPORT(rw_use_ecg) void rw_use_ecg(int use) { state.ecg.used = state.ecg.given && use; }
RW_EXPORT(rw_use_image) void rw_use_image(int use) { state.image.used = state.image.given && use; }

/* Run the encoders of all members: what they make of a recording stays, whatever else changes. */
static void embed(int kind, const float *prepared) {
  float *embedding = rw_memory.embedding;
  for (int m = 0; m < rw_model.members; m++) {
    const rw_member *member = &rw_model.member[m];
    for (int i = 0; i < member->encoders; i++)
      if (member->encoder[i].recording == kind) member->encoder[i].run(prepared, embedding + member->encoder[i].first);
    embedding += member->embeddings;
  }
}

static int read_ecg(void) {
  recording *ecg = &state.ecg;
  if (state.stored.layout) rw_ecg_leads();
  return rw_model.read_ecg(ecg->raw, ecg->samples, ecg->rate, rw_memory.ecg_prepared, rw_memory.ecg_measured);
}

static int read_image(void) {
  recording *image = &state.image;
  int pixels = image->width * image->height;
  if (image->format) {
    float *grey = malloc(sizeof(float) * (size_t)pixels);
    if (!grey) return RW_MEMORY;
    const unsigned char *bytes = image->raw;
    if (image->format == 3)
      for (int i = 0; i < pixels; i++) grey[i] = bytes[i];
    else
      rw_model.grey(bytes, pixels, image->format == 1 ? 3 : 4, grey);
    free(image->raw);
    image->raw = grey;
  }
  return rw_model.read_image(image->raw, image->width, image->height, rw_memory.image_prepared,
                             rw_memory.image_measured);
}

/* Read a recording the first time that it takes part. */
static int encode(recording *some, int kind, int (*read)(void), const float *prepared) {
  if (!some->used) return RW_OK;
  if (some->raw) {
    some->status = read();
    if (!some->status) embed(kind, prepared);
    free(some->raw);
    some->raw = NULL;
  }
  return some->status;
}

RW_EXPORT(rw_encode) int rw_encode(void) {
  begin();
  int status = encode(&state.ecg, RW_HAS_ECG, read_ecg, rw_memory.ecg_prepared);
  return status ? status : encode(&state.image, RW_HAS_IMAGE, read_image, rw_memory.image_prepared);
}

static int has_events(int input) {
  for (int i = 0; i < state.events; i++)
    if (state.event[i].input == input) return 1;
  return 0;
}

RW_EXPORT(rw_missing) int rw_missing(void) {
  begin();
  for (int i = 0; i < rw_model.inputs; i++) {
    const rw_input *input = &rw_model.input[i];
    if (!input->required) continue;
    if (input->kind == RW_EVENTS ? !has_events(i) : isnan(rw_memory.number[i])) return i;
  }
  return -1;
}

static double events_column(const rw_column *column) {
  const rw_dated *first = state.event, *end = state.event + state.events;
  while (first < end && first->input != column->source) first++;
  const rw_dated *behind = first;
  while (behind < end && behind->input == column->source) behind++;
  return first < behind ? rw_aggregate(column, first, behind) : rw_without_events(column->kind);
}

static void make_columns(void) {
  if (!state.sorted) qsort(state.event, (size_t)state.events, sizeof *state.event, rw_compare_events);
  state.sorted = 1;
  for (int i = 0; i < rw_model.columns; i++) {
    const rw_column *column = &rw_model.column[i];
    double *made = &rw_memory.column[i];
    switch (column->kind) {
      case RW_COL_STATIC: *made = rw_memory.number[column->source]; break;
      case RW_COL_ECG: *made = state.ecg.used ? rw_memory.ecg_measured[column->source] : NAN; break;
      case RW_COL_IMAGE: *made = state.image.used ? rw_memory.image_measured[column->source] : NAN; break;
      default: *made = events_column(column);
    }
  }
}

/* The deployed risk is the mean over the members, recalibrated where the model says so. */
static void predict(void) {
  int cells = rw_model.causes * rw_model.times;
  const float *embedding = rw_memory.embedding;
  for (int i = 0; i < cells; i++) rw_memory.risks[i] = 0.0;
  for (int m = 0; m < rw_model.members; m++) {
    const rw_member *member = &rw_model.member[m];
    double *own = rw_memory.member_risks + m * cells;
    rw_make_design(member, embedding, state.ecg.used, state.image.used);
    member->predict(member, rw_memory.design, own);
    for (int i = 0; i < cells; i++) rw_memory.risks[i] += own[i];
    rw_recalibrate(own);
    embedding += member->embeddings;
  }
  for (int i = 0; i < cells; i++) rw_memory.risks[i] /= rw_model.members;
  rw_recalibrate(rw_memory.risks);
}

RW_EXPORT(rw_predict) int rw_predict(void) {
  begin();
  no_results();
  if (rw_missing() >= 0) return RW_REQUIRED;
  int status = rw_encode();
  if (status) return status;
  make_columns();
  rw_make_present(state.ecg.used, state.image.used);
  predict();
  return RW_OK;
}

RW_EXPORT(rw_present) const unsigned char *rw_present(void) { return rw_memory.present; }
RW_EXPORT(rw_risks) const double *rw_risks(void) { return rw_memory.risks; }
RW_EXPORT(rw_member_risks) const double *rw_member_risks(void) { return rw_memory.member_risks; }
RW_EXPORT(rw_columns) const double *rw_columns(void) { return rw_memory.column; }
RW_EXPORT(rw_ecg_prepared) const float *rw_ecg_prepared(void) { return rw_memory.ecg_prepared; }
RW_EXPORT(rw_image_prepared) const float *rw_image_prepared(void) { return rw_memory.image_prepared; }
