SELECT min(created_at) FROM analytics.model_version
