package catalogcategorizer

import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.FileAlreadyExistsException
import java.util.Iterator

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FSDataOutputStream, Path}
import org.apache.hadoop.fs.s3a.{AWSServiceIOException, RemoteFileChangedException}

import io.delta.storage.S3SingleDriverLogStore

/** Delta's log store for S3, with commits that two drivers cannot both make: a PUT on the condition that the object does not exist yet
  * (`If-None-Match: *`). Delta's own store checks whether it exists and then puts it unconditionally; a commit that another driver makes
  * in between is overwritten (docs/decisions/0037-commits-on-s3.md).
  */
class ConditionalPutLogStore(configuration: Configuration) extends S3SingleDriverLogStore(configuration) {
  import ConditionalPutLogStore._

  override def write(path: Path, lines: Iterator[String], overwrite: java.lang.Boolean, settings: Configuration): Unit = {
    if (overwrite) super.write(path, lines, overwrite, settings)
    else put(path, whole(lines), settings, MostConflicts)
  }

  private def put(path: Path, content: String, settings: Configuration, tries: Int): Unit = {
    val bytes = content.getBytes(UTF_8)
    // An S3A that does not know the option, or a setting that forbids it, is an error: never a plain PUT.
    val builder = path.getFileSystem(settings).createFile(path).overwrite(false).must(Condition, true)
    try {
      val stream = builder.build()
      try stream.write(bytes)
      catch { case failed: Throwable => abandon(stream, failed) }
      stream.close()
    } catch {
      // 412: another commit exists. Or this one, if the answer to the first PUT was lost and S3A has sent another.
      case refused: RemoteFileChangedException =>
        if (!isOurs(path, content, settings)) throw as(refused, path)
      case refused: org.apache.hadoop.fs.FileAlreadyExistsException => throw as(refused, path)
      // 409: another request for the object is under way; whether it will succeed is unknown.
      case busy: AWSServiceIOException if busy.statusCode == 409 && tries > 1 => put(path, content, settings, tries - 1)
    }
  }

  /** Closed, the stream would put what it has, as a commit that is cut in the middle. */
  private def abandon(stream: FSDataOutputStream, failed: Throwable): Nothing = {
    try stream.abort()
    catch { case also: Exception => failed.addSuppressed(also) }
    throw failed
  }

  private def isOurs(path: Path, content: String, settings: Configuration): Boolean = {
    val found = read(path, settings)
    try whole(found) == content
    finally found.close()
  }
}

object ConditionalPutLogStore {
  private val Condition = "fs.option.create.conditional.overwrite"
  private val MostConflicts = 5

  private def whole(lines: Iterator[String]): String = {
    val text = new StringBuilder
    lines.forEachRemaining(line => text.append(line).append('\n'))
    text.toString
  }

  // The exception that Delta takes for a conflict.
  private def as(cause: Exception, path: Path): Exception =
    new FileAlreadyExistsException(path.toString).initCause(cause).asInstanceOf[Exception]
}
