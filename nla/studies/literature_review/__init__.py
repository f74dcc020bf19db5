"""What others have published about weights in training, each claim with the test it is put to on any model.

To add one: write its test into a module of this package, a function of `Evidence` under `@claim`, and its name into
`CLAIMS`. W1 and W2 are dense_h_to_4h and dense_4h_to_h, O is dense, QK and OV are products of a head; a number without
further word is a median over layers. Several of the limits are conventions: they say where a verdict turns, and the
value beside them how near it is to turning.
"""

from nla.measures.update import update
from nla.studies.literature_review import alpha, entries, low_rank, random_matrices, sketches, spectra, stages

CLAIMS = [
    spectra.early_collapse,
    spectra.value_later,
    spectra.rebound,
    spectra.leaves_bulk,
    spectra.output_is_most_random,
    spectra.below_the_bulk,
    spectra.effective_rank_falls,
    spectra.lowest_in_query_and_key,
    spectra.products_are_low_rank,
    spectra.depth_in_query_and_key,
    spectra.wave,
    spectra.head_collapses,
    spectra.proportion_by_size,
    entries.memory,
    entries.output_moves_most,
    entries.top_settles_first,
    entries.converged_early,
    entries.rank_of_change_rises,
    entries.norms_grow,
    entries.size_is_the_optimisers,
    entries.leaves_gaussian,
    entries.weibull_shapes,
    entries.neurons_by_depth,
    entries.cosine_falls_with_depth,
    alpha.falls_and_rises,
    alpha.robust_averages,
    alpha.between_two_and_six,
    alpha.agrees_with_others,
    alpha.tail_vectors,
    alpha.weighted_alpha,
    alpha.shape_before_size,
    alpha.inverted_u,
    stages.change_has_low_rank,
    stages.fine_tuning_is_low_rank,
    stages.preference_is_sparse,
    stages.preference_is_full_rank,
    random_matrices.random_at_the_start,
    random_matrices.most_vectors_are_random,
    random_matrices.outliers_fall_with_depth,
    random_matrices.levels_repel,
    random_matrices.small_end_of_rectangles,
    random_matrices.small_end_leaves_later,
    sketches.gradients_lose_rank,
    sketches.projection_keeps_the_loss,
    sketches.sketched_is_as_good,
    sketches.random_is_as_good,
    low_rank.low_rank_in_training_is_free,
    low_rank.embeddings_are_needed,
    low_rank.factors_fall_short,
    low_rank.truncation_improves,
]
STAGES = [update]  # the measure of stages, taken over a chain of them and not over the ladder
MEASURES = [m for m in dict.fromkeys(m for each in CLAIMS for m in each.measures) if m not in STAGES]
