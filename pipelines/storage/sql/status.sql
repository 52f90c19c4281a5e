SELECT symbol.name AS symbol,
    bars.count AS bars, bars.first_bar_at, bars.last_bar_at,
    champion.champion AS model, champion.challenger, active.generation, version.profile, version.published_at, version.lookup_rows, version.last_bar_at AS built_to,
    (SELECT count(*) FROM historical_data.quarantined_bar AS refused WHERE refused.symbol = symbol.name) AS quarantined
FROM unnest(%s::text[]) AS symbol (name)
CROSS JOIN LATERAL (
    SELECT count(*), min(opened_at) AS first_bar_at, max(opened_at) AS last_bar_at
    FROM historical_data.price_history WHERE price_history.symbol = symbol.name
) AS bars
LEFT JOIN analytics.champion ON champion.symbol = symbol.name
LEFT JOIN analytics.active_generation AS active ON active.symbol = symbol.name AND active.model = champion.champion
LEFT JOIN analytics.model_version AS version USING (generation)
ORDER BY symbol.name
