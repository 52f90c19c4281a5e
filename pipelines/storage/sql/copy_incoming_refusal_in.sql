COPY incoming_refusal (file_sha256, source_row, reason, source_file, raw) FROM STDIN
