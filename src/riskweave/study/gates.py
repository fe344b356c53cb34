"""The leak gates by name: what a study may allow, and what `riskweave.leaks` looks for."""

__all__ = ["GATES"]

GATES = {
    "predictor_after_index": "a predictor was measured after the index time",
    "outcome_association": "a column all but tells who has the event",
    "time_association": "a column all but tells how long people are observed",
    "endpoint_copy": "a column is a copy of the endpoint's own event or time",
    "name_pattern": "a column's name is that of an outcome or of follow-up",
    "missingness_association": "whether a column is missing all but tells the outcome or the follow-up",
    "availability_association": "whether a modality is there all but tells the outcome or the follow-up",
    "subject_in_two_folds": "a person is on two sides of a division",
    "recording_shared": "two people have the same recording",
    "image_shared": "two people have the same image",
    "sound_shared": "two people have the same sound recording",
    "duplicate_subjects": "two people have the same row",
    "fitted_on_everyone": "a column was scaled or imputed over all subjects",
    "folds_unlike": "folds differ in events, follow-up or groups",
    "identifier_encodes_outcome": "the identifier, or the order of subjects, all but tells who has the event",
    "identifier_feature": "a column names the subjects",
    "index_encodes_outcome": "the index time follows from the event",
    "selection_after_index": "who is in the study is decided by what happens after the index time",
    "target_code_feature": "a column counts the endpoint's own codes among people who are at risk of it",
}
"""Name of each gate, and what it finds, in a line."""
