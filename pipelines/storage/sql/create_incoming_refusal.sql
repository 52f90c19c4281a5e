CREATE TEMPORARY TABLE incoming_refusal (file_sha256 text, source_row bigint, reason text, source_file text, raw jsonb)
ON COMMIT DROP
