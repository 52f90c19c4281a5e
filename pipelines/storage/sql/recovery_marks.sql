SELECT label FROM recovery_mark ORDER BY at
