"""The paper's Table 1 and figures, measured again."""
