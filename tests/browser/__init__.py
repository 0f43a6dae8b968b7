"""The pages in a real browser, on a whole running site. `make test-browser` runs these."""
