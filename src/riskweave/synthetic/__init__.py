r"""Demo cohort with a planted truth, written in the real file formats of its modalities.

Every subject has latent states that drive both what the raw files show and when events happen. The hazard of the target
event (myocardial infarction), in years since the index time, is Weibull with a log-linear predictor:

.. math::

    h_1(t \mid x) = a\,t^{a-1} \exp(\mu_1 + \eta), \qquad
    \eta = 0.55\,g_{dem} + 0.93\,g_{ehr} + 0.95\,g_{ecg} + 0.98\,g_{image} + 0.45\,g_{\times}

with a = 1.2 and scores of mean zero and unit variance::

    g_dem   ~ 0.9 (age - 62) / 10 - 0.6 female
    g_ehr   ~ 0.6 metabolic + 0.55 vascular + 0.5 renal + 0.6 smoker + 0.25 metabolic vascular
    g_ecg   ~ 0.65 ischaemia + 0.55 conduction + 0.35 rate + 1.1 fibrillation
    g_image ~ 0.75 heart_size + 0.6 texture + 0.2 heart_size texture
    g_x     = (vascular heart_size + metabolic ischaemia + conduction texture) / sqrt(3)

Two further modalities are generated where the study asks for them (`also`); each adds its own part to both hazards, and
nothing else of the cohort changes but the outcomes that follow from it::

    0.95 g_text,  g_text  ~ 0.7 angina + 0.55 frailty + 0.8 family_history
    0.95 g_audio, g_audio ~ 0.7 murmur + 0.6 gallop + 0.2 murmur gallop

Death competes: h_2(t) = b t^(b-1) exp(mu_2 + 0.9 g_dem + 0.25 (g_ehr + g_ecg + g_image + ...)) with b = 1.4, doubled
after the target event. mu_1, mu_2 make the population's cumulative incidences at five years 0.30 and 0.10. The end of
the study and random drop-out censor. A modality named in `noise` keeps its latent states and files, but all its terms
leave both hazards (age and sex, which the health record also states, keep their effect). The latent states are
independent of each other and of age, sex and centre, and each modality's files show its own states only, so that every
part of the log-hazard can be told from the others.

`truth.parquet` holds the latent states, the parts of the log-hazard and the true risks; nothing in the pipeline reads
it.
"""

from riskweave.synthetic.generate import generate

__all__ = ["generate"]
