/* From a design to cumulative incidences: riskweave.survival.proportional, competing, discrete and heads. */
#include "internal.h"

/* A subject far outside the training rows must not overflow: e^50 is certainty already. */
static double ratio_of(double log_ratio) {
  return exp(log_ratio < -50 ? -50 : log_ratio > 50 ? 50 : log_ratio);
}

/* One cause: 1 - exp(-A) needs the hazard at the wanted times alone. */
static void one_cause(double ratio, const rw_baseline *baseline, double *risks) {
  for (int t = 0, step = 0; t < rw_model.times; t++) {
    while (step < baseline->steps && baseline->times[step] <= rw_model.time[t]) step++;
    risks[t] = step ? -expm1(-ratio * baseline->cumulative[step - 1]) : 0.0;
  }
}

/* What happened up to a day: the incidence of each cause, the cumulative hazard of all, and what it leaves. */
typedef struct { double *incidence, sum, survival; } course;

/* A step of the product-integral of Aalen and Johansen, by the cumulative hazards that it adds. The hazard is constant
 * within a step: competing.cumulative_incidence, `exponential`. */
static void go_on(course *so_far, const double *increment) {
  double total = 0.0;
  for (int k = 0; k < rw_model.causes; k++) total += increment[k];
  for (int k = 0; k < rw_model.causes; k++)
    if (total > 0) so_far->incidence[k] += so_far->survival * -expm1(-total) * (increment[k] / total);
  so_far->sum += total;
  so_far->survival = exp(-so_far->sum);
}

static void tell(const course *so_far, int time, double *risks) {
  for (int k = 0; k < rw_model.causes; k++) risks[k * rw_model.times + time] = fmin(so_far->incidence[k], 1.0);
}

/* Over the steps of all causes up to each of the times, which increase. */
static void several_causes(const double *ratio, const rw_baseline *baseline, double *risks) {
  int causes = rw_model.causes, step[causes];
  double incidence[causes], hazard[causes], increment[causes];
  course so_far = {incidence, 0.0, 1.0};
  for (int k = 0; k < causes; k++) step[k] = 0, incidence[k] = hazard[k] = 0.0;
  for (int t = 0; t < rw_model.times; t++) {
    for (;;) {
      double next = INFINITY;
      for (int k = 0; k < causes; k++)
        if (step[k] < baseline[k].steps && baseline[k].times[step[k]] < next) next = baseline[k].times[step[k]];
      if (!(next <= rw_model.time[t])) break;
      for (int k = 0; k < causes; k++) {
        double now = hazard[k];
        if (step[k] < baseline[k].steps && baseline[k].times[step[k]] == next)
          now = ratio[k] * baseline[k].cumulative[step[k]++];
        increment[k] = now - hazard[k];
        hazard[k] = now;
      }
      go_on(&so_far, increment);
    }
    tell(&so_far, t, risks);
  }
}

static void proportional(const double *log_ratio, const rw_baseline *baseline, double *risks) {
  double ratio[rw_model.causes];
  for (int k = 0; k < rw_model.causes; k++) ratio[k] = ratio_of(log_ratio[k]);
  if (rw_model.causes == 1)
    one_cause(ratio[0], baseline, risks);
  else
    several_causes(ratio, baseline, risks);
}

void rw_predict_cox(const rw_member *member, const double *design, double *risks) {
  const rw_cox *cox = member->parameters;
  int columns = member->terms + member->masks;
  double log_ratio[rw_model.causes];
  for (int k = 0; k < rw_model.causes; k++) {
    log_ratio[k] = 0.0;
    for (int i = 0; i < columns; i++) {
      int place = k * columns + i;
      log_ratio[k] += (design[i] - cox->means[place]) * cox->coefficients[place];
    }
  }
  proportional(log_ratio, cox->baseline, risks);
}

/* Networks and trees read float32. */
static const float *single(const rw_member *member, const double *design) {
  for (int i = 0; i < member->terms + member->masks; i++) rw_memory.single[i] = (float)design[i];
  return rw_memory.single;
}

static double grown(const rw_trees *trees, const float *design) {
  double total = 0.0;
  for (int tree = 0; tree < trees->trees; tree++) {
    int branch = trees->root[tree];
    while (branch >= 0) {
      const rw_split *split = trees->split + branch;
      branch = design[split->column] <= split->threshold ? split->left : split->right;
    }
    total += trees->leaf[-1 - branch];
  }
  return total - trees->centre;
}

void rw_predict_boosted(const rw_member *member, const double *design, double *risks) {
  const rw_boosted *boosted = member->parameters;
  const float *read = single(member, design);
  double log_ratio[rw_model.causes];
  for (int k = 0; k < rw_model.causes; k++) log_ratio[k] = grown(boosted->trees + k, read);
  proportional(log_ratio, boosted->baseline, risks);
}

void rw_predict_weibull(const rw_member *member, const double *design, double *risks) {
  const rw_weibull *weibull = member->parameters;
  int causes = rw_model.causes, columns = member->terms + member->masks;
  double location[causes], hazard[causes], increment[causes], incidence[causes];
  course so_far = {incidence, 0.0, 1.0};
  for (int k = 0; k < causes; k++) {
    double sum = 0.0;
    for (int i = 0; i < columns; i++) sum += design[i] * weibull->slope[k * columns + i];
    location[k] = weibull->intercept[k] + sum;
    incidence[k] = hazard[k] = 0.0;
  }
  for (int d = 0, t = 0; d < weibull->days && t < rw_model.times; d++) {
    for (int k = 0; k < causes; k++) {
      /* e^50 is certainty already. */
      double now = exp(fmin(weibull->shape[k] * (log(weibull->day[d]) - location[k]), 50.0));
      increment[k] = now - hazard[k];
      hazard[k] = now;
    }
    go_on(&so_far, increment);
    if (weibull->day[d] == rw_model.time[t]) tell(&so_far, t++, risks);
  }
}

static const float *outputs(const rw_member *member, void (*run)(const float *, float *), const double *design) {
  run(single(member, design), rw_memory.output);
  return rw_memory.output;
}

void rw_predict_deep_surv(const rw_member *member, const double *design, double *risks) {
  const rw_deep_surv *deep = member->parameters;
  const float *output = outputs(member, deep->run, design);
  double log_ratio[rw_model.causes];
  for (int k = 0; k < rw_model.causes; k++) log_ratio[k] = output[k];
  proportional(log_ratio, deep->baseline, risks);
}

/* Softmax over `count` scores and a score of 0 for none of them: the probabilities take the scores' places; returned is
 * that of none. */
static double softmax(double *score, int count) {
  double highest = 0.0, total = 0.0;
  for (int i = 0; i < count; i++)
    if (score[i] > highest) highest = score[i];
  for (int i = 0; i < count; i++) total += score[i] = exp(score[i] - highest);
  double rest = exp(-highest);
  total += rest;
  for (int i = 0; i < count; i++) score[i] /= total;
  return rest / total;
}

/* heads.intervals.hazards_of_incidence: probabilities[causes][intervals] become hazards in place. Summed from the end: 1
 * minus a sum from the start would lose the digits of a small survival. `left` has room for intervals + 1. */
static void hazards_of_incidence(double *probability, double after, int causes, int intervals, double *left) {
  left[intervals] = after;
  for (int j = intervals - 1; j >= 0; j--) {
    double total = 0.0;
    for (int k = 0; k < causes; k++) total += probability[k * intervals + j];
    left[j] = left[j + 1] + total;
    double rate = log(left[j]) - log(left[j + 1]);
    for (int k = 0; k < causes; k++) {
      double share = total > 0 ? probability[k * intervals + j] / total : 0.0;
      probability[k * intervals + j] = -expm1(-rate * share);
    }
  }
}

/* log(1 + e^x) as numpy.logaddexp(0, x). */
static double softplus(double x) {
  if (x == 0) return log(2.0);
  return x < 0 ? log1p(exp(x)) : x + log1p(exp(-x));
}

/* The heads' `hazards`: outputs[causes][intervals] become discrete hazards in place. */
static void hazards(const rw_discrete *head, double *value, double *left) {
  int causes = rw_model.causes, intervals = head->intervals, all = causes * intervals;
  switch (head->kind) {
    case RW_LOGISTIC_HAZARD:
      for (int i = 0; i < all; i++) value[i] = 1.0 / (1.0 + exp(-value[i]));
      return;
    case RW_PC_HAZARD:
      for (int i = 0; i < all; i++) value[i] = -expm1(-softplus(value[i]));
      return;
    case RW_PMF:
      hazards_of_incidence(value, softmax(value, all), causes, intervals, left);
      return;
  }
  for (int k = 0; k < causes; k++) {
    double *own = value + k * intervals;
    for (int j = intervals - 2; j >= 0; j--) own[j] += own[j + 1];
    hazards_of_incidence(own, softmax(own, intervals), 1, intervals, left);
  }
}

/* What riskweave.survival.discrete.cumulative_incidence knows of an interval before it looks at a time. */
typedef struct { double *share, *incidence, *total, *survival; } curves;

/* `hazard`[causes][intervals] is overwritten. */
static void make_curves(double *hazard, int causes, int intervals, const curves *made) {
  double cumulative = 0.0;
  for (int j = 0; j < intervals; j++) {
    double total = 0.0;
    for (int k = 0; k < causes; k++) {
      double h = hazard[k * intervals + j];
      hazard[k * intervals + j] = h = -log1p(-(h < 1.0 ? h : 0x1.fffffffffffffp-1));
      total += h;
    }
    cumulative += total;
    made->total[j] = total;
    made->survival[j] = exp(-(cumulative - total));
  }
  for (int k = 0; k < causes; k++) {
    double incidence = 0.0;
    for (int j = 0; j < intervals; j++) {
      int place = k * intervals + j;
      made->share[place] = made->total[j] > 0 ? hazard[place] / made->total[j] : 0.0;
      made->incidence[place] = incidence;
      incidence += made->share[place] * (made->survival[j] * -expm1(-made->total[j]));
    }
  }
}

/* The rate of a cause is constant inside an interval; after the last cut the last interval's goes on. */
void rw_predict_discrete(const rw_member *member, const double *design, double *risks) {
  const rw_discrete *head = member->parameters;
  int causes = rw_model.causes, intervals = head->intervals, all = causes * intervals;
  const float *output = outputs(member, head->run, design);
  double *value = rw_memory.scratch, *left = value + 3 * all;
  curves made = {value + all, value + 2 * all, left + intervals + 1, left + 2 * (intervals + 1)};
  for (int i = 0; i < all; i++) value[i] = output[i];
  hazards(head, value, left);
  make_curves(value, causes, intervals, &made);
  for (int t = 0; t < rw_model.times; t++) {
    double time = rw_model.time[t];
    int j = 0;
    while (j < intervals - 1 && head->cuts[j + 1] < time) j++;
    double fraction = (time - head->cuts[j]) / (head->cuts[j + 1] - head->cuts[j]);
    double part = made.survival[j] * -expm1(-made.total[j] * fraction);
    for (int k = 0; k < causes; k++) {
      double risk = made.incidence[k * intervals + j] + made.share[k * intervals + j] * part;
      risks[k * rw_model.times + t] = risk > 1.0 ? 1.0 : risk;
    }
  }
}

/* riskweave.evaluation.cloglog: log(-log(1 - risk)), finite for risks of 0 and 1. What is no number stays none. */
static double cloglog(double risk) {
  const double least = 1e-7;
  return log(-log1p(-(risk < least ? least : risk > 1 - least ? 1 - least : risk)));
}

/* riskweave.evaluation.recalibration: a curve that would fall stays at its highest value so far, and where the causes
 * together would be more than certain at the last time, all curves are divided by their sum. */
void rw_recalibrate(double *risks) {
  if (!rw_model.recalibration) return;
  int times = rw_model.times, cells = rw_model.causes * times;
  double sum = 0.0;
  for (int k = 0; k < rw_model.causes; k++) {
    const rw_recalibration *learnt = &rw_model.recalibration[k];
    double *risk = risks + k * times, highest = 0.0;
    for (int t = 0; t < times; t++) {
      double centre = learnt->reference[t];
      double moved = centre + learnt->intercept + learnt->slope * (cloglog(risk[t]) - centre);
      double made = -expm1(-exp(moved > 700 ? 700 : moved));
      risk[t] = highest = made < highest ? highest : made;
    }
    sum += risk[times - 1];
  }
  if (sum > 1)
    for (int i = 0; i < cells; i++) risks[i] /= sum;
}
