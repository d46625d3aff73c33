"""A run in the forms of other programs: a table, a study of Optuna's, event files of TensorBoard's."""
