SET ROLE strikecast_owner
