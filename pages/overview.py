from cwac.ui.frame import page_frame

frame = page_frame("overview")
