GRANT SELECT ON public.schema_version TO strikecast_reader, strikecast_pipeline, strikecast_live;
