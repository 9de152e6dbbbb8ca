"""One module per rule: ``python -m lgg.stages.NAME --recipe JSON …`` reads inputs, calls the library, writes outputs."""
