"""Views of results: tables, figures and sheets. They compute nothing that the evidence and the rows do not hold."""
