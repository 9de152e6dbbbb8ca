"""One module per rule: ``python -m lgg.pipeline.NAME --recipe JSON …`` reads inputs, calls the library, writes outputs."""
