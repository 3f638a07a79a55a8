"""The page that the job `app` serves: products typed, pasted and uploaded, the table browsed and corrected, its runs read."""
