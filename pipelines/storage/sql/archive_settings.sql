SELECT current_setting('archive_mode'), current_setting('archive_command'), current_setting('archive_library')
