"""The log as HTTP serves it, exactly as C2SP tlog-tiles says."""
