COPY analytics.score (
    score_run_id, model, dimension, level, n, mean_probability, happened, brier, log_loss, sharpness, skill, skill_low,
    skill_high
) FROM STDIN
