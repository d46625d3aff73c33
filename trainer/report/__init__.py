"""What people see of an experiment: progress, tables, a page. Figures come from records, never from here."""
