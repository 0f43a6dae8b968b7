"""The watched metrics, the rules that judge them, and the words for every cause of waiting."""
