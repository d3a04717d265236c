"""Loading, facts, labels, groups, plan, surgery: everything that reads or cuts an ONNX graph."""
